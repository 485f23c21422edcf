// SPDX-License-Identifier: Apache-2.0
/* What clients whose certificates have rules may ask. docs/protocol/access.md */
#include "common/check.h"
#include "trusted/replica/replica_internal.h"
#include "trusted/wire/batch_wire.h"

_Static_assert((int)ACCESS_RIGHTS == (int)CLIENT_RIGHTS, "rights travel as they are");

enum { SLOT_MASK = (1 << 20) - 1 };

RESULT replica_access_keep(struct replica *r, uint32_t session, const struct access *a)
{
    uint32_t slot = session & SLOT_MASK;
    struct replica_access *copy;

    if (r->access == NULL) { /* nobody had rules before */
        r->access = heap_zalloc(r->heap, r->sessions_max * sizeof(struct replica_access *));
    }
    if (r->access == NULL || slot >= r->sessions_max) {
        return ERR_ENCLAVE_MEMORY;
    }
    copy = heap_alloc(r->heap, sizeof(*copy));
    if (copy == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    *copy = (struct replica_access){.session = session, .rules = *a};
    if (r->access[slot] != NULL) {
        replica_access_drop(r, r->access[slot]->session);
    }
    r->access[slot] = copy;
    return OK;
}

void replica_access_drop(struct replica *r, uint32_t session)
{
    uint32_t slot = session & SLOT_MASK;

    if (r->access != NULL && slot < r->sessions_max && r->access[slot] != NULL &&
        r->access[slot]->session == session) {
        heap_free(r->heap, r->access[slot], sizeof(struct replica_access));
        r->access[slot] = NULL;
    }
}

void replica_access_fini(struct replica *r)
{
    for (uint32_t i = 0; r->access != NULL && i < r->sessions_max; i++) {
        heap_free(r->heap, r->access[i], sizeof(struct replica_access));
    }
    heap_free(r->heap, r->access, r->sessions_max * sizeof(struct replica_access *));
}

bool replica_access_may_read(const struct replica *r, uint64_t user, uint32_t session,
                             struct bytes key)
{
    const struct replica_access *kept;

    if ((user & REPLICA_HAS_RULES) == 0) {
        return true;
    }
    kept = r->access[session & SLOT_MASK];
    CHECK(kept != NULL && kept->session == session);
    return access_lacks_key(&kept->rules, ACCESS_READ, key) == 0;
}

/* ACL-4: all of a batch, or nothing of it. */
static enum err judge_list(const struct access *a, unsigned rights, unsigned fields,
                           const struct client_request *m, unsigned *ret)
{
    struct batch_list list;
    struct batch_item item;

    *ret = 0;
    TRY(batch_list_decode(m->value, fields, BATCH_TOMBSTONE + 1, &list));
    while (batch_list_next(&list, &item)) {
        *ret |= access_lacks_key(a, rights, item.key);
    }
    return OK;
}

static enum err judge_scan(const struct access *a, const struct client_request *m, unsigned *ret)
{
    struct scan_ask ask;

    TRY(scan_ask_decode(m->value, false, &ask));
    *ret = access_lacks_range(a, ACCESS_SCAN | (ask.values ? ACCESS_READ : 0U), ask.low, ask.high);
    return OK;
}

enum err replica_access_judge(const struct replica *r, uint32_t session,
                              const struct client_request *m, unsigned *ret_lacks)
{
    const struct replica_access *kept = r->access[session & SLOT_MASK];
    const struct access *a;

    CHECK(kept != NULL && kept->session == session);
    a = &kept->rules;
    switch (m->op) {
    case CLIENT_GET:
        *ret_lacks = access_lacks_key(a, ACCESS_READ, m->key);
        return OK;
    case CLIENT_PUT:
    case CLIENT_DELETE:
        *ret_lacks = access_lacks_key(a, ACCESS_WRITE, m->key);
        return OK;
    case CLIENT_RMW: /* its answers tell of the old value */
        *ret_lacks = access_lacks_key(a, ACCESS_READ | ACCESS_WRITE, m->key);
        return OK;
    case CLIENT_SCAN:
        return judge_scan(a, m, ret_lacks);
    case CLIENT_MGET:
        return judge_list(a, ACCESS_READ, BATCH_MGET, m, ret_lacks);
    case CLIENT_MPUT:
        return judge_list(a, ACCESS_WRITE, BATCH_MPUT, m, ret_lacks);
    case CLIENT_LOOK: /* its keys are judged one by one */
        break;
    }
    *ret_lacks = ACCESS_RIGHTS; /* an operation that nobody has thought about */
    return OK;
}
