// SPDX-License-Identifier: Apache-2.0
/*
 * How long it takes to join: N requests of one process for its place, C at a time, each with a
 * nonce, a proof and a certificate of its own, to a CAS and LAS that run already.
 *
 *   bench_join CAS CA NODE las:SOCKET|EVIDENCE N C
 *
 * All ask with the same key, which may ask again (CAS-33): else N places would be needed. Tokens
 * alone (the LAS without the CAS): CAS is "-".
 */
#include "daemons/las_ask.h"
#include "daemons/prove.h"
#include "trusted/config/file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CA_MAX = 64 << 10, TIMEOUT_MS = 60000, THREADS_MAX = 256 };

struct work {
    struct prove_options prove;
    const char *las;
    long node, n;
    bool tokens_alone;
    EVP_PKEY *key;
    X509 *cert;
    double *ms;
    long next, failed;
    struct explain why; /* of the first failure */
    pthread_mutex_t lock;
};

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static enum err once(const struct work *w, struct explain *why)
{
    const struct prove_ask ask = {
        "POST", "/v1/join",
        w->tokens_alone ? NULL
                        : json_pack("{s:s,s:I}", "role", "replica", "node", (json_int_t)w->node),
        w->key, w->cert};
    uint8_t token[LAS_TOKEN_MAX];
    struct evidence_binding b = {0};
    json_t *answer = NULL;
    size_t n = 0;
    enum err err;

    if (w->tokens_alone) {
        return las_ask(w->las, &b, token, &n, why);
    }
    err = prove(&w->prove, &ask, &answer, why);
    json_decref(answer);
    return err;
}

static void *work_on(void *arg)
{
    struct work *w = arg;

    for (;;) {
        struct explain why = {{0}};
        double from;
        enum err err;
        long i;

        (void)pthread_mutex_lock(&w->lock);
        i = w->next++;
        (void)pthread_mutex_unlock(&w->lock);
        if (i >= w->n) {
            return NULL;
        }
        from = now_ms();
        err = once(w, &why);
        w->ms[i] = now_ms() - from;
        if (err != OK) {
            (void)pthread_mutex_lock(&w->lock);
            w->why = w->failed++ == 0 ? why : w->why;
            (void)pthread_mutex_unlock(&w->lock);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static bool prepare(struct work *w, char **argv, struct evidence_source *evidence)
{
    struct explain why = {{0}};
    char *ca = NULL;
    size_t n = 0;

    w->tokens_alone = strcmp(argv[1], "-") == 0;
    w->node = strtol(argv[3], NULL, 10);
    w->las = strncmp(argv[4], "las:", 4) == 0 ? argv[4] + 4 : NULL;
    w->n = strtol(argv[5], NULL, 10);
    w->ms = calloc((size_t)(w->n > 0 ? w->n : 1), sizeof(*w->ms));
    w->prove = (struct prove_options){.las = w->las, .timeout_ms = TIMEOUT_MS};
    if (w->ms == NULL || https_new_key(&w->key, &w->cert, &why) != OK ||
        (w->las == NULL && evidence_source_parse(argv[4], evidence, &why) != OK) ||
        (!w->tokens_alone && (https_peer_parse(argv[1], &w->prove.cas, &why) != OK ||
                              file_read(argv[2], FILE_PUBLIC, CA_MAX, &ca, &n, &why) != OK))) {
        (void)fprintf(stderr, "bench_join: %s\n", why.text);
        return false;
    }
    w->prove.evidence = evidence;
    w->prove.cas.ca_pem = ca;
    return true;
}

int main(int argc, char **argv)
{
    static struct work w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct evidence_source evidence;
    pthread_t threads[THREADS_MAX];
    long threads_n = argc == 7 ? strtol(argv[6], NULL, 10) : 0;
    double from;

    if (threads_n < 1 || threads_n > THREADS_MAX || !prepare(&w, argv, &evidence) || w.n < 1) {
        (void)fprintf(stderr, "usage: bench_join CAS|- CA NODE las:SOCKET|EVIDENCE N C\n");
        return 2;
    }
    from = now_ms();
    for (long i = 0; i < threads_n; i++) {
        if (pthread_create(&threads[i], NULL, work_on, &w) != 0) {
            return 3;
        }
    }
    for (long i = 0; i < threads_n; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    from = now_ms() - from;
    qsort(w.ms, (size_t)w.n, sizeof(*w.ms), by_size);
    (void)printf("{\"n\":%ld,\"at_once\":%ld,\"failed\":%ld,\"per_s\":%.1f,\"min_ms\":%.2f,"
                 "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}\n",
                 w.n, threads_n, w.failed, (double)w.n * 1e3 / from, w.ms[0], w.ms[w.n / 2],
                 w.ms[w.n * 99 / 100], w.ms[w.n - 1]);
    if (w.failed > 0) {
        (void)fprintf(stderr, "bench_join: %s\n", w.why.text);
    }
    return w.failed == 0 ? 0 : 1;
}
