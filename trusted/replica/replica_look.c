// SPDX-License-Identifier: Apache-2.0
/* What a client asks this replica of what it holds, to judge itself whether a majority agrees. */
#include "trusted/crypto/kdf.h"
#include "trusted/replica/replica_internal.h"

uint64_t replica_bond(const struct secret *send, const struct secret *recv)
{
    uint64_t a, b;

    kdf_expand(send, "avocado bond", (struct mbytes){.p = (uint8_t *)&a, .n = sizeof(a)});
    kdf_expand(recv, "avocado bond", (struct mbytes){.p = (uint8_t *)&b, .n = sizeof(b)});
    return a ^ b; /* the same at both ends */
}

/* Whether the key lies in this group and shard (MEM-16). */
static bool is_here(const struct replica_group *g, struct bytes key)
{
    const struct replica *r = g->replica;
    uint32_t slot;

    if (r->members.groups_n <= 1) {
        return true;
    }
    slot = slot_of(r->cluster_id, key);
    return slot_run(slot, r->members.groups_n) == g->number &&
           slot_run(slot, r->shards_n) == r->shard;
}

static bool are_here(const struct replica_group *g, const struct look_ask *ask)
{
    for (uint32_t i = 0; i < ask->n; i++) {
        if (!is_here(g, ask->keys[i])) {
            return false;
        }
    }
    return true;
}

/* Its cache lines are asked for together (STORE-28), a few keys ahead of those that are read. */
static void expect(const struct replica_group *g, const struct look_ask *ask, uint32_t i)
{
    uint32_t n = ask->n - i < STORE_EXPECT_MAX ? ask->n - i : STORE_EXPECT_MAX;

    if (i % STORE_EXPECT_MAX == 0 && n > 1 && store_waits(g->store)) {
        store_expect(g->store, ask->keys + i, n);
    }
}

/* Who we are, and whom we know. */
static size_t introduce(const struct replica_group *g, uint8_t to[static LOOK_WITNESS_MAX])
{
    struct look_witness m = {.epoch = g->replica->members.epoch,
                             .gc = abd_gc_epoch(g->abd),
                             .majority = abd_majority(g->abd),
                             .place = g->self,
                             .members_n = g->members_n};

    for (uint8_t i = 0; i < g->members_n; i++) {
        m.bonds[i] = g->replica->member_bond[g->member_at[i]];
    }
    return look_witness_encode(&m, to);
}

/* Puts the items one behind the other, room kept for what must be said of those to come. */
static size_t fill(struct replica_group *g, const struct rpc_event *e, const struct look_ask *ask)
{
    struct replica *r = g->replica;
    size_t head = ask->values ? LOOK_VALUE_ITEM_LEN : LOOK_ITEM_LEN;
    size_t at = introduce(g, r->look);

    for (uint32_t i = 0; i < ask->n; i++) {
        size_t later = (ask->n - i) * head; /* this one's head included */
        struct look_item item = {.state = LOOK_ASK};
        uint32_t value_len = 0;

        expect(g, ask, i);
        if (replica_access_may_read(r, e->user, e->session, ask->keys[i])) {
            struct mbytes room = {.p = r->look + at + head, .n = sizeof(r->look) - at - later};

            abd_show(g->abd, ask->keys[i], ask->values, room, &item, &value_len);
        }
        at += look_item_encode_head(&item, ask->values, value_len, r->look + at) + value_len;
    }
    return at;
}

void replica_on_look(struct replica_group *g, const struct rpc_event *e,
                     const struct client_request *m)
{
    struct replica *r = g->replica;
    struct client_response answer = {.status = OK};

    if (look_ask_decode(m->value, &r->look_ask) != OK) {
        replica_refuse_client(r, e->request, ERR_MALFORMED);
        return;
    }
    if (!are_here(g, &r->look_ask)) {
        replica_refuse_client(r, e->request, ERR_USAGE);
        return;
    }
    answer.value = (struct bytes){.p = r->look, .n = fill(g, e, &r->look_ask)};
    replica_respond(r, e->request, &answer);
}
