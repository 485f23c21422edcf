// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_workload.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *bench_op_name(enum bench_op op)
{
    static const char *const names[BENCH_OPS] = {
        [BENCH_GET] = "get", [BENCH_PUT] = "put",       [BENCH_INSERT] = "insert",
        [BENCH_RMW] = "rmw", [BENCH_DELETE] = "delete", [BENCH_INCR] = "incr",
        [BENCH_CAS] = "cas", [BENCH_SCAN] = "scan",
    };

    return names[op];
}

const struct workload_mix workload_mixes[] = {
    {"put", "puts only", {[BENCH_PUT] = 100}, false},
    {"get", "gets only", {[BENCH_GET] = 100}, false},
    {"a", "YCSB A: half gets, half puts", {[BENCH_GET] = 50, [BENCH_PUT] = 50}, false},
    {"b", "YCSB B: 95 % gets, 5 % puts", {[BENCH_GET] = 95, [BENCH_PUT] = 5}, false},
    {"c", "YCSB C: gets only", {[BENCH_GET] = 100}, false},
    {"d",
     "YCSB D: 95 % gets of recent records, 5 % inserts",
     {[BENCH_GET] = 95, [BENCH_INSERT] = 5},
     true},
    {"e",
     "YCSB E: 95 % scans of up to 100 records, 5 % inserts",
     {[BENCH_INSERT] = 5, [BENCH_SCAN] = 95},
     false},
    {"f",
     "YCSB F: half gets, half read-modify-writes (a get, then a put: not atomic)",
     {[BENCH_GET] = 50, [BENCH_RMW] = 50},
     false},
    {"mix",
     "45 % gets, 45 % puts, 10 % deletes",
     {[BENCH_GET] = 45, [BENCH_PUT] = 45, [BENCH_DELETE] = 10},
     false},
    {"rmw",
     "atomic read-modify-writes: half increments of counters, half compare-and-sets of records",
     {[BENCH_INCR] = 50, [BENCH_CAS] = 50},
     false},
    {"incr", "increments of counters only", {[BENCH_INCR] = 100}, false},
    {NULL, NULL, {0}, false},
};

const struct workload_mix *workload_named(const char *name)
{
    for (const struct workload_mix *m = workload_mixes; m->name != NULL; m++) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    return NULL;
}

void zipf_init(struct zipf *z, uint64_t n, double theta)
{
    double zeta_2 = 1 + pow(0.5, theta);

    *z = (struct zipf){.n = n, .theta = theta, .alpha = 1 / (1 - theta)};
    for (uint64_t i = 1; i <= n; i++) {
        z->zeta_n += 1 / pow((double)i, theta);
    }
    z->half_power = zeta_2;
    z->eta = (1 - pow(2.0 / (double)n, 1 - theta)) / (1 - zeta_2 / z->zeta_n);
}

static double unit(struct prng *p)
{
    return (double)(prng_u64(p) >> 11) * 0x1p-53;
}

uint64_t zipf_draw(const struct zipf *z, struct prng *p)
{
    double u = unit(p), uz = u * z->zeta_n;
    uint64_t v;

    if (uz < 1 || z->n == 1) {
        return 0;
    }
    if (uz < z->half_power || z->n == 2) {
        return 1;
    }
    v = (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha));
    return v < z->n ? v : z->n - 1;
}

/* Spreads the frequent ones over all records, as YCSB does: FNV-1a of the eight bytes. */
static uint64_t scatter(uint64_t v)
{
    uint64_t h = 0xcbf29ce484222325U;

    for (unsigned i = 0; i < 8; i++) {
        h = (h ^ (v >> (8 * i) & 0xff)) * 0x100000001b3U;
    }
    return h;
}

static uint64_t choose_record(const struct workload *w, struct prng *p)
{
    uint64_t newest, back;

    if (w->mix->latest) {
        newest = atomic_load_explicit(&w->inserted, memory_order_relaxed);
        back = w->uniform ? prng_below(p, w->records) : zipf_draw(&w->zipf, p);
        return newest - 1 - (back < newest ? back : newest - 1);
    }
    if (w->uniform) {
        return prng_below(p, w->records);
    }
    return scatter(zipf_draw(&w->zipf, p)) % w->records;
}

struct workload_step workload_next(struct workload *w, struct prng *p)
{
    struct workload_step s = {0};
    uint64_t roll = prng_below(p, 100);

    for (int op = 0; op < BENCH_OPS; op++) {
        if (roll < w->mix->percent[op]) {
            s.op = (enum bench_op)op;
            break;
        }
        roll -= w->mix->percent[op];
    }
    s.record = s.op == BENCH_INSERT
                   ? atomic_fetch_add_explicit(&w->next_insert, 1, memory_order_relaxed)
                   : choose_record(w, p);
    if (s.op == BENCH_SCAN) {
        s.count = 1 + (uint32_t)prng_below(p, WORKLOAD_SCAN_MAX);
    }
    if (s.op == BENCH_INCR) {
        s.record |= WORKLOAD_COUNTER;
    }
    return s;
}

/* A permutation of the 48-bit numbers: neighbours in number are no neighbours in order. */
static uint64_t permute(uint64_t v)
{
    const uint64_t mask = (UINT64_C(1) << 48) - 1;

    v = v * UINT64_C(0x9e3779b97f4b) & mask;
    v ^= v >> 25;
    v = v * UINT64_C(0xd1b54a32d193) & mask;
    return v ^ v >> 23;
}

size_t workload_key(const struct workload *w, uint64_t record, char *to)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
    uint64_t v = permute(record);

    if (w->plain_keys) {
        char text[24];
        int n = snprintf(text, sizeof(text), "k%llu", (unsigned long long)record);

        memcpy(to, text, (size_t)n);
        return (size_t)n;
    }
    for (unsigned i = 0; i < WORKLOAD_KEY_MIN; i++) {
        to[i] = digits[v >> (42 - 6 * i) & 63];
    }
    memset(to + WORKLOAD_KEY_MIN, '.', w->key_len - WORKLOAD_KEY_MIN);
    return w->key_len;
}
