// SPDX-License-Identifier: Apache-2.0
#include "host/frame/link.h"

bool link_prefix_has(const struct link_prefix *p, const struct abi_addr *ip)
{
    uint8_t whole = p->bits / 8, rest = p->bits % 8;

    return p->ip.family == ip->family && memcmp(p->ip.ip, ip->ip, whole) == 0 &&
           (rest == 0 || (p->ip.ip[whole] ^ ip->ip[whole]) >> (8 - rest) == 0);
}

void link_init(struct link *l, const struct link_config *c)
{
    bool has_v6 = false;

    memset(l, 0, sizeof(*l));
    l->c = *c;
    if (l->c.mtu > LINK_MTU_MAX) {
        l->c.mtu = LINK_MTU_MAX;
    }
    for (; l->own_n < c->own_n; l->own_n++) {
        l->own[l->own_n] = c->own[l->own_n];
        has_v6 |= c->own[l->own_n].ip.family == 6;
    }
    if (has_v6) {
        l->own[l->own_n++] = (struct link_prefix){.ip = frame_link_local(&c->mac), .bits = 64};
    }
    neighbours_init(&l->neighbours, c->key);
}

static bool is_own(const struct link *l, const struct abi_addr *ip)
{
    for (uint32_t i = 0; i < l->own_n; i++) {
        if (frame_ip_equal(&l->own[i].ip, ip)) {
            return true;
        }
    }
    return false;
}

/* ---- in ---- */

/* Who asks for us will be answered, by the kernel if it has our addresses, and wants something of
 * us: that he told his MAC saves a question (RFC 826, RFC 4861 7.2.3). */
static enum link_verdict on_question(struct link *l, const struct frame *f, uint64_t now_ns,
                                     struct link_arrival *ret)
{
    static const struct abi_addr unspecified = {.family = 6};
    struct frame_path path = {
        .from_mac = l->c.mac, .to_mac = f->has_mac ? f->mac : f->from_mac, .from = f->to};

    if (!is_own(l, &f->to)) {
        return LINK_OTHERS;
    }
    path.to = f->from.family == 0 ? unspecified : f->from;
    if (f->has_mac && !is_own(l, &f->from)) {
        neighbours_learn(&l->neighbours, &f->from, &f->mac, now_ns, true, true);
    }
    if (l->c.has_others) {
        return LINK_OTHERS;
    }
    l->counters.answered++;
    ret->answer_len = frame_tell(&path, ret->answer);
    return LINK_ANSWER;
}

static enum link_verdict on_datagram(struct link *l, const struct frame *f,
                                     struct link_arrival *ret)
{
    uint32_t port = (uint32_t)f->to.port - l->c.port; /* below it: beyond ports_n */

    if (port >= l->c.ports_n || !frame_mac_equal(&f->to_mac, &l->c.mac) || !is_own(l, &f->to)) {
        return LINK_OTHERS;
    }
    ret->from = f->from;
    ret->port = port;
    ret->off = f->off;
    ret->len = f->len;
    return LINK_DATAGRAM;
}

enum link_verdict link_in(struct link *l, struct bytes frame, unsigned done, uint64_t now_ns,
                          struct link_arrival *ret)
{
    enum link_verdict v = LINK_OTHERS;
    struct frame f;

    frame_parse(frame, done, &f);
    ret->is_news = f.kind == FRAME_ASKS || f.kind == FRAME_TELLS;
    if (f.kind == FRAME_BAD) {
        l->counters.bad[f.why]++;
        return LINK_NOTHING;
    }
    /* A link that many hear, or a NIC that lets everything through. */
    if (!frame_mac_is_group(&f.to_mac) && !frame_mac_equal(&f.to_mac, &l->c.mac)) {
        l->counters.not_ours++;
        return LINK_NOTHING;
    }
    if (f.kind == FRAME_UDP) {
        v = on_datagram(l, &f, ret);
    } else if (f.kind == FRAME_ASKS) {
        v = on_question(l, &f, now_ns, ret);
    } else if (f.kind == FRAME_TELLS && f.has_mac && !is_own(l, &f.from)) {
        l->counters.answers++;
        neighbours_learn(&l->neighbours, &f.from, &f.mac, now_ns, f.overrides, false);
        return LINK_OTHERS; /* may have asked, too */
    }
    l->counters.not_ours += v == LINK_OTHERS;
    return v;
}

/* ---- out ---- */

/* The address of ours to send from; NULL: none. *ret_is_near: `to` is on this link. */
static const struct abi_addr *choose_own(const struct link *l, const struct abi_addr *to,
                                         bool *ret_is_near)
{
    const struct abi_addr *any = NULL;

    for (uint32_t i = 0; i < l->own_n; i++) {
        if (link_prefix_has(&l->own[i], to)) {
            *ret_is_near = true;
            return &l->own[i].ip;
        }
        if (any == NULL && l->own[i].ip.family == to->family) {
            any = &l->own[i].ip;
        }
    }
    *ret_is_near = false;
    return any;
}

static bool is_group(const struct abi_addr *a)
{
    return a->family == 4 ? a->ip[0] >= 224 : a->ip[0] == 0xff;
}

/* Whom on this link to give it to; NULL: nobody. */
static const struct abi_addr *next_hop(const struct link *l, const struct abi_addr *to,
                                       bool is_near)
{
    const struct abi_addr *gateway = to->family == 4 ? &l->c.gateway4 : &l->c.gateway6;

    return is_near ? to : gateway->family != 0 ? gateway : NULL;
}

/* False: not now, or never; counted. */
static bool find_mac(struct link *l, struct frame_path *path, bool is_near, uint64_t now_ns,
                     struct link_departure *ret)
{
    struct frame_path question = {.from_mac = l->c.mac};
    const struct abi_addr *hop = next_hop(l, &path->to, is_near), *own;
    const struct frame_mac *mac;
    bool ask, is_hop_near;

    if (hop == NULL) {
        l->counters.no_route++;
        return false;
    }
    mac = neighbours_find(&l->neighbours, hop, now_ns, &ask);
    if (ask) {
        own = choose_own(l, hop, &is_hop_near);
        question.from = own == NULL ? path->from : *own;
        question.to = *hop;
        ret->question_len = frame_ask(&question, ret->question);
        l->counters.questions++;
    }
    if (mac == NULL) {
        l->counters.no_neighbour++;
        return false;
    }
    path->to_mac = *mac;
    return true;
}

void link_out(struct link *l, const struct link_datagram *g, uint64_t now_ns,
              struct link_departure *ret)
{
    struct frame_path path = {.from_mac = l->c.mac, .to_mac = l->c.peer, .to = *g->to};
    uint32_t ip = g->to->family == 4 ? FRAME_IP4_LEN : FRAME_IP6_LEN;
    const struct abi_addr *own;
    bool is_near = false;

    ret->head_len = ret->question_len = 0;
    own = choose_own(l, g->to, &is_near);
    if (own == NULL || is_group(g->to)) {
        l->counters.no_route++;
        return;
    }
    if (g->payload.n + FRAME_UDP_LEN + ip > l->c.mtu) {
        l->counters.too_long++;
        return;
    }
    path.from = *own;
    path.from.port = (uint16_t)(l->c.port + g->port);
    if (l->c.is_pair || find_mac(l, &path, is_near, now_ns, ret)) {
        ret->head_len = frame_udp(&path, g->payload, g->left, ret->head);
    }
}
