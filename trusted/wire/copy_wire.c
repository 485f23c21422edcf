// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/copy_wire.h"

static uint8_t kind_of(const struct copy_entry *e)
{
    if (e->accepted) {
        return e->tombstone ? COPY_ACCEPTED_TOMBSTONE : COPY_ACCEPTED;
    }
    return (uint8_t)((e->damaged     ? COPY_DAMAGED
                      : e->tombstone ? COPY_TOMBSTONE
                                     : COPY_VALUE) |
                     (e->follows ? COPY_FOLLOWS : 0));
}

void copy_entry_put_head(struct writer *w, const struct copy_entry *e)
{
    put_u8(w, kind_of(e));
    put_tag(w, e->tag);
    put_u16(w, (uint16_t)e->key.n);
    put_u32(w, (uint32_t)e->value.n);
    if (e->accepted) {
        put_u64(w, e->ballot);
        put_rmw_id(w, e->op);
    }
    put_bytes(w, e->key);
}

static bool is_legal(const struct copy_entry *e, uint8_t kind)
{
    if (kind != kind_of(e) || e->key.n == 0 || e->key.n > KEY_MAX || e->value.n > VALUE_MAX ||
        ((e->tombstone || e->damaged) && e->value.n != 0)) {
        return false;
    }
    return e->accepted || !tag_is_zero(e->tag);
}

bool copy_entry_get(struct reader *r, struct copy_entry *ret)
{
    struct copy_entry e = {0};
    uint8_t kind = get_u8(r), what = (uint8_t)(kind & ~COPY_FOLLOWS);
    uint16_t key_len;
    uint32_t value_len;

    e.tombstone = what == COPY_TOMBSTONE || what == COPY_ACCEPTED_TOMBSTONE;
    e.damaged = what == COPY_DAMAGED;
    e.accepted = what == COPY_ACCEPTED || what == COPY_ACCEPTED_TOMBSTONE;
    e.follows = (kind & COPY_FOLLOWS) != 0;
    e.tag = get_tag(r);
    key_len = get_u16(r);
    value_len = get_u32(r);
    if (e.accepted) {
        e.ballot = get_u64(r);
        e.op = get_rmw_id(r);
    }
    e.key = get_bytes(r, key_len);
    e.value = get_bytes(r, value_len);
    if (r->failed || !is_legal(&e, kind)) {
        return false;
    }
    *ret = e;
    return true;
}
