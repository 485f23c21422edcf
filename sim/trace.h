// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

/*
 * The transcript of a run: every event goes into one hash, and is printed with -v. Two runs of a
 * seed must have equal hashes.
 */

#include "common/bytes.h"
#include "common/siphash.h"

struct trace {
    uint8_t chain[SIPHASH_KEY_LEN];
    uint64_t events;
    bool verbose;
};

void trace_init(struct trace *t, bool verbose);
/* `what` is a short constant text; the numbers mean what it says. */
void trace_event(struct trace *t, uint64_t now_ns, const char *what, uint64_t a, uint64_t b,
                 uint64_t c);
/* Bytes that belong to the transcript but are not printed. */
void trace_bytes(struct trace *t, struct bytes b);
uint64_t trace_hash(const struct trace *t);

#endif
