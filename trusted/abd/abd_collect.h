// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ABD_ABD_COLLECT_H
#define TRUSTED_ABD_ABD_COLLECT_H

#include "trusted/abd/abd_batch.h"
#include "trusted/wire/collect_wire.h"

/* ---- abd_gc.c: the member's half ---- */

/* Does one step of a round here; OK, BUSY, EPOCH, ENCLAVE_MEMORY as in a COLLECTED answer. */
enum err abd_gc_step(struct abd *a, const struct collect_ask *m, struct abd_out *out);
/* The same, and the answer's body, the caller's to free. ENCLAVE_MEMORY: no room for it. */
RESULT abd_gc_answer(struct abd *a, const struct collect_ask *m, struct abd_out *out,
                     struct mbytes *ret);

/* ---- abd_collect.c: the collector ---- */

/* Every member holds the tombstones that are left in the batch, or something newer. */
void abd_collect_established(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* False: not an answer to what was asked. */
bool abd_collect_answer(struct abd *a, struct abd_batch *b, uint8_t bit,
                        const struct peer_answer *m, struct abd_out *out);
/* Time to look again who was not ready. */
void abd_collect_poll(struct abd *a, struct abd_batch *b, struct abd_out *out);
void abd_collect_failed(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* Somebody went down before the round was sealed: it goes back. */
bool abd_collect_is_cut(const struct abd *a, const struct abd_batch *b);

#endif
