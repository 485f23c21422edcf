// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/collect_wire.h"

void collect_ask_put_head(struct writer *w, const struct collect_ask *m, uint16_t n)
{
    put_u8(w, (uint8_t)m->step);
    put_u64(w, m->round);
    put_u32(w, m->gc);
    put_u16(w, n);
}

void collect_answer_put_head(struct writer *w, const struct collect_answer *m, uint16_t n)
{
    put_u8(w, (uint8_t)m->status);
    put_u32(w, m->gc);
    put_u16(w, n);
}

void collect_copy_put_head(struct writer *w, const struct collect_copy *m, uint16_t n)
{
    put_u32(w, m->gc);
    put_u32(w, m->stamp);
    put_u64(w, m->floor);
    put_u16(w, n);
}

/* A list is in the order of keys, each once: it is searched by halves. */
static RESULT get_listed(struct reader *r, struct batch_list *ret)
{
    struct batch_list list;
    struct batch_item m;
    struct bytes last = {0};

    TRY(batch_list_get(r, BATCH_LOOK, 1, true, &list));
    *ret = list;
    while (batch_list_next(&list, &m)) {
        if (tag_is_zero(m.tag) || (last.n != 0 && bytes_compare(last, m.key) >= 0)) {
            return ERR_MALFORMED;
        }
        last = m.key;
    }
    return OK;
}

RESULT collect_ask_decode(struct bytes from, struct collect_ask *ret)
{
    struct reader r = {.rest = from};
    struct collect_ask m = {.step = (enum collect_step)get_u8(&r)};

    m.round = get_u64(&r);
    m.gc = get_u32(&r);
    TRY(get_listed(&r, &m.list));
    if (m.step < COLLECT_DRAIN || m.step >= COLLECT_STEPS_END || m.round == 0 ||
        (m.list.n != 0 && !collect_step_lists(m.step) && m.step != COLLECT_DROP)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}

RESULT collect_answer_decode(struct bytes from, enum collect_step step, struct collect_answer *ret)
{
    struct reader r = {.rest = from};
    struct collect_answer m = {.status = (enum err)get_u8(&r)};

    m.gc = get_u32(&r);
    if (m.status != OK && m.status != ERR_BUSY && m.status != ERR_EPOCH &&
        m.status != ERR_ENCLAVE_MEMORY) {
        return ERR_MALFORMED;
    }
    if (collect_step_lists(step)) {
        TRY(batch_list_get(&r, BATCH_STATES, COLLECT_STATES_END, true, &m.list));
    } else {
        TRY(get_listed(&r, &m.list));
        if (m.list.n != 0 && step != COLLECT_DRAIN) {
            return ERR_MALFORMED;
        }
    }
    *ret = m;
    return OK;
}

RESULT collect_copy_decode(struct bytes from, struct collect_copy *ret)
{
    struct reader r = {.rest = from};
    struct collect_copy m = {.gc = get_u32(&r)};

    m.stamp = get_u32(&r);
    m.floor = get_u64(&r);
    TRY(get_listed(&r, &m.list));
    if (m.stamp < m.gc) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}
