// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_WORKLOAD_H
#define TOOLS_BENCH_WORKLOAD_H

/*
 * What a client of the benchmark does next: YCSB's core workloads A to F and some plain
 * ones. Every draw comes from the given generator: same seed, same sequence.
 */

#include "common/prng.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bench_op {
    BENCH_GET = 0,
    BENCH_PUT,
    BENCH_INSERT, /* a put of a record that was not there */
    BENCH_RMW,    /* a get, then a put of the same key: two operations, not one atomic step */
    BENCH_DELETE,
    BENCH_INCR, /* of a counter beside the record */
    BENCH_CAS,  /* a get, then a compare-and-set of what it found; a lost race is no error */
    BENCH_SCAN, /* of the records that follow one in order, with values */
    BENCH_OPS,
};
const char *bench_op_name(enum bench_op op);

struct workload_mix {
    const char *name;
    const char *what;
    uint8_t percent[BENCH_OPS];
    bool latest; /* prefers what was inserted last */
};
/* NULL ends the list; NULL when there is no such workload. */
extern const struct workload_mix workload_mixes[];
const struct workload_mix *workload_named(const char *name);

/*
 * Zipfian numbers in [0, n), 0 the most frequent, by the method of Gray et al. (SIGMOD'94) that
 * YCSB uses. Setting up sums n terms once.
 */
struct zipf {
    uint64_t n;
    double theta, alpha, zeta_n, eta, half_power;
};
void zipf_init(struct zipf *z, uint64_t n, double theta);
uint64_t zipf_draw(const struct zipf *z, struct prng *p);

struct workload {
    const struct workload_mix *mix;
    uint64_t records; /* at the start */
    bool uniform;
    struct zipf zipf;
    size_t key_len;
    bool plain_keys;              /* "k17" instead of scattered ones, for histories */
    _Atomic uint64_t inserted;    /* records that exist by now */
    _Atomic uint64_t next_insert; /* number of the next one */
};

struct workload_step {
    enum bench_op op;
    uint64_t record;
    uint32_t count; /* of a scan */
};
/* The counter that belongs to a record is a record, too. */
static const uint64_t WORKLOAD_COUNTER = UINT64_C(1) << 40;

struct workload_step workload_next(struct workload *w, struct prng *p);

enum { WORKLOAD_KEY_MIN = 8, WORKLOAD_SCAN_MAX = 100 };
/* Key of a record, key_len bytes; distinct for distinct records below 2^48. Returns its length. */
size_t workload_key(const struct workload *w, uint64_t record, char *to);

#endif
