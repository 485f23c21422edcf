// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_BATCHES_H
#define SIM_BATCHES_H

/*
 * Scans and operations on several keys, as the history knows them: one operation per key, all
 * called at once and answered at once, the first of them the head. What docs/protocol/scan.md
 * promises is promised per key (SCAN-6), so each of them is judged like a get, put or delete of its
 * own: of a page, every key that it covers was read, as listed or as absent.
 */

#include "sim/history.h"

enum { BATCH_WHY_MAX = 120 };

/* The key as clients spell it: two bytes. */
enum { SIM_KEY_LEN = 2 };
struct sim_key {
    uint8_t b[SIM_KEY_LEN];
};
static inline struct sim_key sim_key(uint32_t key)
{
    return (struct sim_key){{'k', (uint8_t)key}};
}

/* What the batch of `head` asks; *ret_block (free it) holds the body. */
void batches_request(const struct history *h, size_t head, struct client_request *ret,
                     uint8_t **ret_block);
/* Every operation of the batch returns. False: the answer breaks a promise, or makes no sense;
 * ret_why says which. */
bool batches_return(struct history *h, size_t head, enum err status, struct bytes value,
                    uint64_t now_ns, char ret_why[BATCH_WHY_MAX]);

#endif
