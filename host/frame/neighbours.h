// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_FRAME_NEIGHBOURS_H
#define HOST_FRAME_NEIGHBOURS_H

/*
 * Who has which MAC on one link: a table of fixed size, IPv4 and IPv6 alike.
 *
 *   nothing --find--> WANTED --learn--> KNOWN --30 s--> used, but asked about again
 *                       |  ^                               |
 *                       |  +------- 3 questions unanswered-+
 *                       +-- a question at most every second while somebody wants to know
 *
 * Sets of four places, chosen by a keyed hash; the place that was used least recently goes. So a
 * flood of forged addresses drives out itself, not those we talk with. One thread at a time; time
 * in nanoseconds, never backwards.
 */

#include "common/siphash.h"
#include "host/frame/frame.h"

enum {
    NEIGHBOURS_SETS = 256,
    NEIGHBOURS_WAYS = 4,
    NEIGHBOURS_QUESTIONS = 3,
};
static const uint64_t NEIGHBOURS_FRESH_NS = UINT64_C(30000000000);
static const uint64_t NEIGHBOURS_ASK_NS = UINT64_C(1000000000);

struct neighbour {
    struct abi_addr ip; /* family 0: an empty place */
    struct frame_mac mac;
    bool is_known;
    uint8_t questions; /* since it was last confirmed */
    uint64_t confirmed_ns, used_ns, asked_ns;
};

struct neighbours {
    uint8_t key[SIPHASH_KEY_LEN];
    struct neighbour sets[NEIGHBOURS_SETS][NEIGHBOURS_WAYS];
};

/* `key` is random. */
void neighbours_init(struct neighbours *t, const uint8_t key[static SIPHASH_KEY_LEN]);
/* The MAC of an address to which something is to be sent; NULL: not known yet. With *ret_ask, a
 * question is due, and counts as asked. */
const struct frame_mac *neighbours_find(struct neighbours *t, const struct abi_addr *ip,
                                        uint64_t now_ns, bool *ret_ask);
/* Somebody said that `ip` has `mac`. Whom we know or look for is brought up to date, another MAC
 * only if it `overrides`; whom we do not know is remembered only with `is_new_welcome`: when he
 * asked for us and an answer will go to him. */
void neighbours_learn(struct neighbours *t, const struct abi_addr *ip, const struct frame_mac *mac,
                      uint64_t now_ns, bool overrides, bool is_new_welcome);

#endif
