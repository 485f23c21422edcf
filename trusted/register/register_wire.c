// SPDX-License-Identifier: Apache-2.0
#include "common/codec.h"
#include "trusted/config/explain.h"
#include "trusted/register/register.h"

#include <stdlib.h>

enum { REGISTER_FORMAT = 1, FLAG_SETTLED = 1, FLAG_FORCED = 2 };

/* Little-endian: format u16 | version u64 | phase u8 | flags u8 | incarnation_next u32 | factor u32
 * | losses u32 | sealed, copied, lost, lost_next u8 each | wishes_n u8 | (node u32 | control_port
 * u16 | data_port u16 | address: u8 and so many bytes) each | current, next: u16 and so many bytes
 * of their canonical text (CFG-1); none when they are not there. */

static bool put_cluster(struct writer *w, const struct cluster *c)
{
    char *text = NULL;
    size_t n = 0;

    if (c->epoch == 0) {
        put_u16(w, 0);
        return true;
    }
    text = cluster_format(c);
    if (text == NULL) {
        return false;
    }
    n = strlen(text);
    put_u16(w, (uint16_t)n);
    put_bytes(w, (struct bytes){.p = (const uint8_t *)text, .n = n});
    free(text);
    return true;
}

RESULT register_encode(const struct config_register *r, struct mbytes to, size_t *ret_len)
{
    struct writer w = {.to = to};
    unsigned flags = (r->settled ? FLAG_SETTLED : 0U) | (r->forced ? FLAG_FORCED : 0U);

    put_u16(&w, REGISTER_FORMAT);
    put_u64(&w, r->version);
    put_u8(&w, (uint8_t)r->phase);
    put_u8(&w, (uint8_t)flags);
    put_u32(&w, r->incarnation_next);
    put_u32(&w, r->replication_factor);
    put_u32(&w, r->losses_accepted);
    put_u8(&w, r->sealed);
    put_u8(&w, r->copied);
    put_u8(&w, r->lost);
    put_u8(&w, r->lost_next);
    put_u8(&w, (uint8_t)r->wishes_n);
    for (uint32_t i = 0; i < r->wishes_n; i++) {
        const struct register_wish *k = &r->wishes[i];
        size_t n = strlen(k->address);

        put_u32(&w, k->node);
        put_u16(&w, k->control_port);
        put_u16(&w, k->data_port);
        put_u8(&w, (uint8_t)n);
        put_bytes(&w, (struct bytes){.p = (const uint8_t *)k->address, .n = n});
    }
    if (!put_cluster(&w, &r->current) || !put_cluster(&w, &r->next) || !writer_done(&w, ret_len)) {
        return ERR_TOO_BIG;
    }
    return OK;
}

static void get_wish(struct reader *r, uint32_t after, struct register_wish *k)
{
    struct bytes address;

    k->node = get_u32(r);
    k->control_port = get_u16(r);
    k->data_port = get_u16(r);
    address = get_bytes(r, get_u8(r));
    if (address.n == 0 || address.n > HOST_MAX_LEN || memchr(address.p, 0, address.n) != NULL ||
        k->node <= after) {
        r->failed = true;
        return;
    }
    memcpy(k->address, address.p, address.n);
}

static bool get_cluster(struct reader *r, struct cluster *ret)
{
    struct bytes text = get_bytes(r, get_u16(r));
    struct explain why = {0};

    return text.n == 0 || cluster_parse((const char *)text.p, text.n, ret, &why) == OK;
}

/* What the machine itself never does. */
static bool agrees(const struct config_register *r)
{
    uint8_t now = (uint8_t)((1U << r->current.members_n) - 1);
    uint8_t then = (uint8_t)((1U << r->next.members_n) - 1);
    bool pending = r->phase == REGISTER_PENDING;

    if (r->phase == REGISTER_EMPTY) {
        return r->current.epoch == 0 && r->next.epoch == 0 && r->wishes_n == 0 &&
               (r->sealed | r->copied | r->lost | r->lost_next) == 0;
    }
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if (r->current.members[i].incarnation >= r->incarnation_next) {
            return false;
        }
    }
    for (uint32_t i = 0; i < r->next.members_n; i++) {
        if (r->next.members[i].incarnation >= r->incarnation_next) {
            return false;
        }
    }
    return r->current.epoch != 0 && pending == (r->next.epoch != 0) &&
           (!pending || r->next.epoch == r->current.epoch + 1) && (pending || !r->forced) &&
           ((r->sealed | r->copied | r->lost) & ~now) == 0 && (r->lost_next & ~then) == 0 &&
           r->replication_factor % 2 == 1 && r->replication_factor <= NODES_MAX;
}

RESULT register_decode(struct bytes from, struct config_register *ret)
{
    struct reader r = {.rest = from};
    struct config_register k = {0};
    uint8_t phase, flags;
    uint32_t node = 0;

    if (get_u16(&r) != REGISTER_FORMAT) {
        return ERR_MALFORMED;
    }
    k.version = get_u64(&r);
    phase = get_u8(&r);
    flags = get_u8(&r);
    k.incarnation_next = get_u32(&r);
    k.replication_factor = get_u32(&r);
    k.losses_accepted = get_u32(&r);
    k.sealed = get_u8(&r);
    k.copied = get_u8(&r);
    k.lost = get_u8(&r);
    k.lost_next = get_u8(&r);
    k.wishes_n = get_u8(&r);
    if (r.failed || phase > REGISTER_PENDING || flags > (FLAG_SETTLED | FLAG_FORCED) ||
        k.wishes_n > NODES_MAX) {
        return ERR_MALFORMED;
    }
    k.phase = (enum register_phase)phase;
    k.settled = (flags & FLAG_SETTLED) != 0;
    k.forced = (flags & FLAG_FORCED) != 0;
    for (uint32_t i = 0; i < k.wishes_n && !r.failed; i++) {
        get_wish(&r, node, &k.wishes[i]);
        node = k.wishes[i].node;
    }
    if (!get_cluster(&r, &k.current) || !get_cluster(&r, &k.next) || !reader_done(&r) ||
        !agrees(&k)) {
        return ERR_MALFORMED;
    }
    *ret = k;
    return OK;
}
