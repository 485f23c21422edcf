// SPDX-License-Identifier: Apache-2.0
#include "common/codec.h"
#include "trusted/config/explain.h"
#include "trusted/register/register.h"

#include <stdlib.h>

enum { REGISTER_FORMAT = 2, FLAG_SETTLED = 1, FLAG_FORCED = 2 };

/* Little-endian: format u16 | version u64 | phase u8 | incarnation_next u32 | factor u32
 * | losses u32 | sealed, lost, lost_next u32 each | wishes_n u8 | (node u32 | control_port u16 |
 * data_port u16 | address: u8 and so many bytes) each | groups_n u8 | (target, copied u32 | flags
 * u8) each | current, next: u16 and so many bytes
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

    put_u16(&w, REGISTER_FORMAT);
    put_u64(&w, r->version);
    put_u8(&w, (uint8_t)r->phase);
    put_u32(&w, r->incarnation_next);
    put_u32(&w, r->replication_factor);
    put_u32(&w, r->losses_accepted);
    put_u32(&w, r->sealed);
    put_u32(&w, r->lost);
    put_u32(&w, r->lost_next);
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
    put_u8(&w, (uint8_t)r->current.groups_n);
    for (uint32_t i = 0; i < r->current.groups_n; i++) {
        const struct register_group *g = &r->groups[i];

        put_u32(&w, g->target);
        put_u32(&w, g->copied);
        put_u8(&w, (uint8_t)((g->settled ? FLAG_SETTLED : 0U) | (g->forced ? FLAG_FORCED : 0U)));
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

static void get_group(struct reader *r, struct register_group *g)
{
    uint8_t flags;

    g->target = get_u32(r);
    g->copied = get_u32(r);
    flags = get_u8(r);
    g->settled = (flags & FLAG_SETTLED) != 0;
    g->forced = (flags & FLAG_FORCED) != 0;
    r->failed = r->failed || flags > (FLAG_SETTLED | FLAG_FORCED);
}

static uint64_t below(uint32_t n)
{
    return (UINT64_C(1) << n) - 1;
}

static bool knows_all(const struct config_register *r, const struct cluster *c)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].incarnation >= r->incarnation_next) {
            return false;
        }
    }
    return true;
}

/* What the machine itself never does. */
static bool agrees(const struct config_register *r, uint32_t groups_n)
{
    uint64_t now = below(r->current.members_n), then = below(r->next.members_n);
    bool pending = r->phase == REGISTER_PENDING;

    if (r->phase == REGISTER_EMPTY) {
        return r->current.epoch == 0 && r->next.epoch == 0 && r->wishes_n == 0 && groups_n == 0 &&
               (r->sealed | r->lost | r->lost_next) == 0;
    }
    for (uint32_t i = 0; i < groups_n; i++) {
        const struct register_group *g = &r->groups[i];

        if ((g->copied & ~now) != 0 || (g->target & ~below(r->wishes_n)) != 0 || g->target == 0 ||
            (g->forced && !pending)) {
            return false;
        }
    }
    return r->current.epoch != 0 && pending == (r->next.epoch != 0) && knows_all(r, &r->current) &&
           knows_all(r, &r->next) && groups_n == r->current.groups_n &&
           (!pending || (r->next.epoch == r->current.epoch + 1 && r->next.groups_n == groups_n)) &&
           ((r->sealed | r->lost) & ~now) == 0 && (r->lost_next & ~then) == 0 &&
           r->replication_factor % 2 == 1 && r->replication_factor <= NODES_MAX;
}

RESULT register_decode(struct bytes from, struct config_register *ret)
{
    struct reader r = {.rest = from};
    struct config_register k = {0};
    uint8_t phase;
    uint32_t node = 0, groups_n;

    if (get_u16(&r) != REGISTER_FORMAT) {
        return ERR_MALFORMED;
    }
    k.version = get_u64(&r);
    phase = get_u8(&r);
    k.incarnation_next = get_u32(&r);
    k.replication_factor = get_u32(&r);
    k.losses_accepted = get_u32(&r);
    k.sealed = get_u32(&r);
    k.lost = get_u32(&r);
    k.lost_next = get_u32(&r);
    k.wishes_n = get_u8(&r);
    if (r.failed || phase > REGISTER_PENDING || k.wishes_n > CLUSTER_MAX) {
        return ERR_MALFORMED;
    }
    k.phase = (enum register_phase)phase;
    for (uint32_t i = 0; i < k.wishes_n && !r.failed; i++) {
        get_wish(&r, node, &k.wishes[i]);
        node = k.wishes[i].node;
    }
    groups_n = get_u8(&r);
    if (r.failed || groups_n > GROUPS_MAX) {
        return ERR_MALFORMED;
    }
    for (uint32_t i = 0; i < groups_n; i++) {
        get_group(&r, &k.groups[i]);
    }
    if (!get_cluster(&r, &k.current) || !get_cluster(&r, &k.next) || !reader_done(&r) ||
        !agrees(&k, groups_n)) {
        return ERR_MALFORMED;
    }
    *ret = k;
    return OK;
}
