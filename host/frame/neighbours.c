// SPDX-License-Identifier: Apache-2.0
#include "host/frame/neighbours.h"

void neighbours_init(struct neighbours *t, const uint8_t key[static SIPHASH_KEY_LEN])
{
    memset(t, 0, sizeof(*t));
    memcpy(t->key, key, sizeof(t->key));
}

static struct neighbour *set_of(struct neighbours *t, const struct abi_addr *ip)
{
    struct bytes b = {.p = ip->ip, .n = sizeof(ip->ip)};

    return t->sets[siphash(t->key, b) % NEIGHBOURS_SETS];
}

static struct neighbour *look_up(struct neighbours *t, const struct abi_addr *ip)
{
    struct neighbour *set = set_of(t, ip);

    for (int i = 0; i < NEIGHBOURS_WAYS; i++) {
        if (frame_ip_equal(&set[i].ip, ip)) {
            return &set[i];
        }
    }
    return NULL;
}

/* What was only heard of and never used goes first. */
static struct neighbour *make_room(struct neighbours *t, const struct abi_addr *ip)
{
    struct neighbour *set = set_of(t, ip), *oldest = set;

    for (int i = 0; i < NEIGHBOURS_WAYS && oldest->ip.family != 0; i++) {
        if (set[i].ip.family == 0 || set[i].used_ns < oldest->used_ns) {
            oldest = &set[i];
        }
    }
    *oldest = (struct neighbour){.ip = *ip};
    oldest->ip.port = 0;
    oldest->ip.scope = 0;
    return oldest;
}

const struct frame_mac *neighbours_find(struct neighbours *t, const struct abi_addr *ip,
                                        uint64_t now_ns, bool *ret_ask)
{
    struct neighbour *n = look_up(t, ip);

    if (n == NULL) {
        n = make_room(t, ip);
    }
    n->used_ns = now_ns;
    *ret_ask = false;
    if (n->is_known && now_ns - n->confirmed_ns < NEIGHBOURS_FRESH_NS) {
        return &n->mac;
    }
    if (n->questions == 0 || now_ns - n->asked_ns >= NEIGHBOURS_ASK_NS) {
        if (n->questions == NEIGHBOURS_QUESTIONS) {
            n->is_known = false;
        } else {
            n->questions++;
        }
        n->asked_ns = now_ns;
        *ret_ask = true;
    }
    return n->is_known ? &n->mac : NULL;
}

void neighbours_learn(struct neighbours *t, const struct abi_addr *ip, const struct frame_mac *mac,
                      uint64_t now_ns, bool overrides, bool is_new_welcome)
{
    struct neighbour *n = look_up(t, ip);

    if (n == NULL) {
        if (!is_new_welcome) {
            return;
        }
        n = make_room(t, ip);
    }
    if (n->is_known && !overrides && !frame_mac_equal(&n->mac, mac)) {
        return; /* RFC 4861 7.2.5: ask the one we know again when his time has come */
    }
    n->mac = *mac;
    n->is_known = true;
    n->confirmed_ns = now_ns;
    n->questions = 0;
}
