// SPDX-License-Identifier: Apache-2.0
#include "sim/trace.h"

#include <inttypes.h>
#include <stdio.h>

void trace_init(struct trace *t, bool verbose)
{
    *t = (struct trace){.verbose = verbose};
}

/* A hash chain: the key of each step is made of the two before it. */
void trace_bytes(struct trace *t, struct bytes b)
{
    uint64_t h = siphash(t->chain, b);

    memmove(t->chain, t->chain + 8, 8);
    memcpy(t->chain + 8, &h, 8);
    t->events++;
}

void trace_event(struct trace *t, uint64_t now_ns, const char *what, uint64_t a, uint64_t b,
                 uint64_t c)
{
    uint64_t record[4] = {now_ns, a, b, c};

    trace_bytes(t, (struct bytes){.p = (const uint8_t *)record, .n = sizeof(record)});
    trace_bytes(t, (struct bytes){.p = (const uint8_t *)what, .n = strlen(what)});
    if (t->verbose) {
        (void)printf("%12.6f ms  %-24s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (double)now_ns / 1e6,
                     what, a, b, c);
    }
}

uint64_t trace_hash(const struct trace *t)
{
    uint64_t h;

    memcpy(&h, t->chain + 8, sizeof(h));
    return h;
}
