// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_CPUS_H
#define HOST_RUN_CPUS_H

/*
 * Lists of processors, as the kernel writes them ("0-3,8"), for threads that are to stay where they
 * are. The order counts, and one may stand there twice.
 */

#include <ctype.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { CPUS_MAX = 256 };

struct cpus {
    uint16_t cpu[CPUS_MAX];
    uint32_t n; /* 0: threads run anywhere */
};

/* Goes past a number below CPU_SETSIZE. */
static inline bool cpus_number(const char **at, unsigned long *ret)
{
    char *end;

    if (!isdigit((unsigned char)**at)) {
        return false;
    }
    *ret = strtoul(*at, &end, 10);
    *at = end;
    return *ret < CPU_SETSIZE;
}

/* False: not such a list, or more than CPUS_MAX; *ret is undefined then. */
static inline bool cpus_parse(const char *text, struct cpus *ret)
{
    unsigned long first, last;

    ret->n = 0;
    do {
        if (!cpus_number(&text, &first)) {
            return false;
        }
        last = first;
        if (*text == '-') {
            text++;
            if (!cpus_number(&text, &last) || last < first) {
                return false;
            }
        }
        for (; first <= last; first++) {
            if (ret->n == CPUS_MAX) {
                return false;
            }
            ret->cpu[ret->n++] = (uint16_t)first;
        }
    } while (*text == ',' && *++text != '\0');
    return *text == '\0' && text[-1] != ',';
}

/* True if this process may run on all of them; else *ret_bad is one on which it may not. */
static inline bool cpus_allowed(const struct cpus *l, uint16_t *ret_bad)
{
    cpu_set_t all;

    if (sched_getaffinity(0, sizeof(all), &all) != 0) {
        CPU_ZERO(&all);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        if (!CPU_ISSET(l->cpu[i], &all)) {
            *ret_bad = l->cpu[i];
            return false;
        }
    }
    return true;
}

/* Where shard `shard` of `shards` of node `node` (from 1) runs: shards of all nodes take the list's
 * entries one after the other, and begin anew at its end. l->n > 0. */
static inline uint16_t cpus_of_shard(const struct cpus *l, uint32_t node, uint32_t shards,
                                     uint32_t shard)
{
    return l->cpu[((uint64_t)(node - 1) * shards + shard) % l->n];
}

#endif
