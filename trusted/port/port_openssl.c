// SPDX-License-Identifier: Apache-2.0
/*
 * OpenSSL's heap in enclave memory: the TLS private key, the keys of every connection and all the
 * scratch of big numbers. OpenSSL's own secure heap would take in a handful of private numbers and
 * leave expanded keys and connection states on the ordinary heap (docs/adr/0008-secret-memory.md).
 */
#include "trusted/mem/heap.h"
#include "trusted/port/port.h"
#include "trusted/port/port_internal.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Libraries and certificates need 1 MiB, a connection in the middle of a handshake 100 KiB. */
    REGION_BYTES = 64 << 20,
};

/* Before each block; OpenSSL does not say how large what it frees was. */
struct head {
    _Alignas(16) size_t bytes;
    bool spilled;
};

static struct {
    pthread_mutex_t lock;
    struct heap *heap;
    uint8_t *region;
    _Atomic uint64_t spilled;
} openssl = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *allocate(size_t n, const char *file, int line)
{
    struct head *h;

    (void)file;
    (void)line;
    if (n == 0 || n > SIZE_MAX / 2) {
        return NULL;
    }
    (void)pthread_mutex_lock(&openssl.lock);
    h = heap_alloc(openssl.heap, sizeof(*h) + n);
    (void)pthread_mutex_unlock(&openssl.lock);
    if (h == NULL) {
        /* Peers can fill the region with connections: that must not end those there are. */
        h = malloc(sizeof(*h) + n);
        if (h == NULL) {
            return NULL;
        }
        h->spilled = true;
        atomic_fetch_add(&openssl.spilled, n);
    } else {
        h->spilled = false;
    }
    h->bytes = n;
    return h + 1;
}

static void release(void *p, const char *file, int line)
{
    struct head *h;

    (void)file;
    (void)line;
    if (p == NULL) {
        return;
    }
    h = (struct head *)p - 1;
    if (h->spilled) {
        atomic_fetch_sub(&openssl.spilled, h->bytes);
        OPENSSL_cleanse(p, h->bytes);
        free(h);
        return;
    }
    (void)pthread_mutex_lock(&openssl.lock);
    heap_free(openssl.heap, h, sizeof(*h) + h->bytes);
    (void)pthread_mutex_unlock(&openssl.lock);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    size_t had = p == NULL ? 0 : ((struct head *)p - 1)->bytes;
    void *q;

    if (n == 0) {
        release(p, file, line);
        return NULL;
    }
    if (p != NULL && n <= had && n > had / 2) {
        return p;
    }
    q = allocate(n, file, line);
    if (q != NULL && p != NULL) {
        memcpy(q, p, had < n ? had : n);
        release(p, file, line);
    }
    return q;
}

bool port_openssl_init(void)
{
    openssl.region = port_memory_map(REGION_BYTES);
    return openssl.region != NULL && heap_init(openssl.region, REGION_BYTES, &openssl.heap) == OK &&
           CRYPTO_set_mem_functions(allocate, resize, release) == 1;
}

uint64_t port_memory_spilled(void)
{
    return atomic_load(&openssl.spilled);
}
