// SPDX-License-Identifier: Apache-2.0
#include "trusted/replica/replica_internal.h"
#include "trusted/wire/client_wire.h"
#include "trusted/wire/peer_wire.h"

/* The key that a request speaks of; empty: none, several, or it is malformed. */
static struct bytes key_in(struct bytes body, bool from_member)
{
    if (from_member) {
        struct peer_ask m;

        if (body.n < 1) {
            return (struct bytes){0};
        }
        body = (struct bytes){body.p + 1, body.n - 1}; /* behind the group */
        return peer_ask_decode(body, &m) == OK && !peer_ask_is_batch(m.kind) &&
                       !peer_ask_is_copy(m.kind)
                   ? m.key
                   : (struct bytes){0};
    }
    struct client_request m;

    return client_request_decode(body, &m) == OK && !client_op_is_batch(m.op) ? m.key
                                                                              : (struct bytes){0};
}

void replica_expect(const struct replica *r)
{
    struct bytes found[REPLICA_EXPECT];
    uint64_t user;
    size_t n, keys_n = 0;

    /* Keys of groups lie in parts of the store, one after another: not looked for side by side. */
    if (r->members.groups_n > 1 || !store_waits(r->store)) {
        return;
    }
    n = rpc_peek(r->rpc, found, REPLICA_EXPECT, &user);
    for (size_t i = 0; i < n && n > 1; i++) {
        struct bytes key = key_in(found[i], replica_is_member(user));

        if (key.n > 0) {
            found[keys_n++] = key;
        }
    }
    if (keys_n > 1) {
        store_expect(r->store, found, keys_n);
    }
}
