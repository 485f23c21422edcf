// SPDX-License-Identifier: Apache-2.0
#include "tools/found.h"

#include "tools/ports.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    CA_DAYS = 3650,
    CLIENT_DAYS = 3650,
    DEFAULT_NODES = 3,
    DEFAULT_WORKERS = 1,
};

__attribute__((format(printf, 3, 4))) static enum err fail(enum err err, struct explain *why,
                                                           const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
    return err;
}

static uint64_t or_else(uint64_t wish, uint64_t otherwise)
{
    return wish != 0 ? wish : otherwise;
}

/* Node k has TCP and UDP port base + k * shards, and the UDP ports up to the next node's. */
static void set_ports(struct cluster *c, uint16_t base)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        struct cluster_member *m = &c->members[i];

        (void)snprintf(m->address, sizeof(m->address), "127.0.0.1");
        m->control_port = m->data_port = (uint16_t)(base + i * c->shards);
    }
}

static enum err choose_ports(const struct found_wishes *w, const struct cluster *previous,
                             struct cluster *c, struct explain *why)
{
    uint16_t n = (uint16_t)(c->members_n * c->shards), stride = (uint16_t)c->shards;
    uint16_t base = (uint16_t)w->base_port, busy = 0;

    if (base != 0) {
        if (base + n > UINT16_MAX) {
            return fail(ERR_USAGE, why, "--base-port %u leaves no room for %u ports", base, n);
        }
        if (!ports_are_free(base, n, stride, &busy)) {
            return fail(ERR_IO, why,
                        "port %u is in use; stop who uses it, or choose another --base-port", busy);
        }
        set_ports(c, base);
        return OK;
    }
    /* Stay where the last epoch was, so that firewalls and habits need no change. */
    if (previous != NULL && previous->members_n == c->members_n && previous->shards == c->shards &&
        ports_are_free(previous->members[0].data_port, n, stride, &busy)) {
        base = previous->members[0].data_port;
    } else {
        base = ports_find(n, stride);
    }
    if (base == 0) {
        return fail(ERR_IO, why, "found no %u free ports in a row; give --base-port", n);
    }
    set_ports(c, base);
    return OK;
}

static enum err describe(const struct found_wishes *w, const struct cluster *previous,
                         struct cluster *c, struct explain *why)
{
    c->epoch = previous == NULL ? 1 : previous->epoch + 1;
    c->members_n =
        (uint32_t)or_else(w->nodes, previous == NULL ? DEFAULT_NODES : previous->members_n);
    c->replication_factor = c->members_n;
    c->shards =
        (uint32_t)or_else(w->workers, previous == NULL ? DEFAULT_WORKERS : previous->shards);
    c->datagram_bytes = previous == NULL ? DATAGRAM_LOOPBACK : previous->datagram_bytes;
    c->value_max =
        (uint32_t)or_else(w->value_max, previous == NULL ? VALUE_MAX_DEFAULT : previous->value_max);
    c->enclave_memory = or_else(w->enclave_memory, previous == NULL ? ENCLAVE_MEMORY_DEFAULT
                                                                    : previous->enclave_memory);
    c->host_memory =
        or_else(w->host_memory, previous == NULL ? HOST_MEMORY_DEFAULT : previous->host_memory);
    for (uint32_t i = 0; i < c->members_n; i++) {
        c->members[i].node = i + 1;
    }
    return choose_ports(w, previous, c, why);
}

static enum err issue_client(struct foundation *f, uint64_t now_s, struct explain *why)
{
    struct identity_name name = {.role = ROLE_CLIENT, .client = "owner"};

    memcpy(name.cluster, f->cluster.id, sizeof(name.cluster));
    TRY(pki_issue(&f->ca, &name, now_s, CLIENT_DAYS, &f->client, why));
    return OK;
}

RESULT found_first(const struct found_wishes *w, struct foundation *ret, struct explain *why)
{
    uint64_t now_s = (uint64_t)time(NULL);
    struct foundation f = {0};
    enum err err = OK;

    (void)snprintf(f.cluster.name, sizeof(f.cluster.name), "avocado");
    if (getrandom(f.cluster.id, sizeof(f.cluster.id), 0) != (ssize_t)sizeof(f.cluster.id)) {
        return fail(ERR_IO, why, "the kernel gives no random bytes");
    }
    err = describe(w, NULL, &f.cluster, why);
    if (err == OK) {
        err = pki_make_ca("avocado cluster CA", now_s, CA_DAYS, &f.ca, why);
    }
    if (err == OK) {
        err = issue_client(&f, now_s, why);
    }
    if (err != OK) {
        foundation_free(&f);
        return err;
    }
    *ret = f;
    return OK;
}

RESULT found_next(const struct found_wishes *w, const struct cluster *previous, struct pki_pair *ca,
                  struct foundation *ret, struct explain *why)
{
    struct foundation f = {.ca = *ca};
    enum err err;

    *ca = (struct pki_pair){0};
    memcpy(f.cluster.id, previous->id, sizeof(f.cluster.id));
    memcpy(f.cluster.name, previous->name, sizeof(f.cluster.name));
    err = describe(w, previous, &f.cluster, why);
    if (err == OK) {
        err = issue_client(&f, (uint64_t)time(NULL), why);
    }
    if (err != OK) {
        foundation_free(&f);
        return err;
    }
    *ret = f;
    return OK;
}

void foundation_free(struct foundation *f)
{
    pki_pair_free(&f->ca);
    pki_pair_free(&f->client);
}
