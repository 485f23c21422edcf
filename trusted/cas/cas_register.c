// SPDX-License-Identifier: Apache-2.0
/*
 * The configuration register in the state: what members report of themselves and what the owner
 * orders goes in, signed configurations come out. What may follow what is decided in
 * trusted/register and nowhere else. MEM-1 to MEM-12, CAS-50 to CAS-54
 */
#include "trusted/cas/cas_internal.h"

#include "trusted/register/keeping.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS_MAX = 4 * CLUSTER_MAX };

struct cas_claim *cas_find_claim(struct cas *c, uint32_t incarnation)
{
    for (uint32_t i = 0; i < c->claims_n; i++) {
        if (c->claim[i].incarnation == incarnation) {
            return &c->claim[i];
        }
    }
    return NULL;
}

uint32_t cas_look_s(const struct cas *c)
{
    uint32_t renew_s = c->policy->certificate_s / 2;

    return renew_s < CAS_LOOK_S ? renew_s : CAS_LOOK_S;
}

void cas_seen(struct cas_turn *t)
{
    struct cas_claim *claim = NULL;

    if ((t->has_name || t->is_late) && t->name.role == ROLE_REPLICA) {
        claim = cas_find_claim(t->c, t->name.incarnation);
    }
    if (claim != NULL && claim->seen_s < t->r->now_s) {
        claim->seen_s = t->r->now_s;
    }
}

/* The clock is the host's: it may let a node be taken over too early. That costs the former member
 * its place, which its host could do anyway, and never safety: it goes by the register's rules. */
bool cas_is_silent(const struct cas_turn *t, const struct cas_claim *claim)
{
    uint64_t seen_s = claim->seen_s > t->c->since_s ? claim->seen_s : t->c->since_s;

    return t->r->now_s > seen_s + (uint64_t)CAS_SILENT_LOOKS * cas_look_s(t->c);
}

static bool is_member(const struct cluster *c, uint32_t incarnation)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].incarnation == incarnation) {
            return true;
        }
    }
    return false;
}

/* Claims of incarnations that are over: their rows go, and then they themselves. */
static void put_claims(const struct cas *c, const struct cluster *latest, struct cas_batch *b)
{
    for (uint32_t i = 0; i < c->claims_n; i++) {
        if (!is_member(latest, c->claim[i].incarnation)) {
            cas_remove_claim(b, c->claim[i].incarnation);
        }
    }
}

static void drop_claims(struct cas *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->claims_n; i++) {
        if (is_member(&c->cluster, c->claim[i].incarnation)) {
            c->claim[n++] = c->claim[i];
        }
    }
    c->claims_n = n;
}

static void put_next(struct cas_turn *t, const struct config_register *next, const char *yaml,
                     const char *signature, struct cas_batch *b)
{
    const struct cluster *latest = register_latest(next);
    struct explain why = {0};

    cas_put_register(b, next);
    if (yaml == NULL) {
        return;
    }
    register_explain(next, &why);
    cas_put_epoch(b, yaml, signature);
    put_claims(t->c, latest, b);
    cas_batch_audit(b, t->r->now_s, "epoch", "register", "epoch %llu: %u members, %d vote; %.200s",
                    (unsigned long long)latest->epoch, latest->members_n,
                    __builtin_popcount(cluster_voters(latest)), why.text);
}

bool cas_register_commit(struct cas_turn *t, struct config_register *next, struct cas_batch *b)
{
    struct cas *c = t->c;
    char *yaml = NULL, *signature = NULL;
    struct explain why = {0};

    for (int i = 0; i < STEPS_MAX && keeping_advance(next, true); i++) {
    }
    if (next->version == c->reg.version && b->n == 0) {
        return true;
    }
    if (register_latest(next)->epoch != c->cluster.epoch &&
        cas_sign_cluster(&c->ca, register_latest(next), &yaml, &signature, &why) != OK) {
        b->failed = true;
    }
    put_next(t, next, yaml, signature, b);
    if (!cas_commit(t, b)) {
        free(yaml);
        free(signature);
        return false;
    }
    c->reg = *next;
    c->cluster = *register_latest(next);
    if (yaml != NULL) {
        free(c->cluster_text);
        free(c->cluster_signature);
        c->cluster_text = yaml;
        c->cluster_signature = signature;
        drop_claims(c);
    }
    return true;
}

/* ---- members ---- */

/* Everybody's word again: a member may have copied in an epoch that becomes active only now. */
static void hear_all(const struct cas *c, struct config_register *r)
{
    for (uint32_t i = 0; i < 2 * c->claims_n; i++) { /* installed by all, then copied */
        const struct cas_claim *m = &c->claim[i % c->claims_n];

        keeping_hear(r, &(struct keeping_report){.incarnation = m->incarnation,
                                                 .epoch = m->installed,
                                                 .installed = m->installed,
                                                 .copied = m->copied});
    }
}

/* A list of numbers as a set; what is no group is nobody's. */
static uint64_t groups_of(const json_t *list)
{
    uint64_t groups = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *number = json_array_get(list, i);
        json_int_t group = json_is_integer(number) ? json_integer_value(number) : -1;

        groups |= group < 0 || group >= GROUPS_MAX ? 0 : UINT64_C(1) << group;
    }
    return groups;
}

/* MEM-4, MEM-7: in which epoch all shards of the member work, and which groups it has copied there.
 * The member says so itself, and its program was measured. */
void cas_on_report(struct cas_turn *t)
{
    json_int_t installed = json_integer_value(json_object_get(t->body, "installed"));
    struct config_register next = t->c->reg;
    struct cas_claim *claim = NULL;
    struct cas_batch b;

    if (!cas_is_current(t) || !cas_check_seen(t)) {
        return;
    }
    claim = t->name.role == ROLE_REPLICA ? cas_find_claim(t->c, t->name.incarnation) : NULL;
    if (claim == NULL || installed < 1) {
        cas_refuse(t, 400, "MALFORMED", "a replica reports the epoch that it works under");
        return;
    }
    cas_ca_heard(t);
    claim->installed = (uint64_t)installed;
    claim->copied = groups_of(json_object_get(t->body, "copied"));
    hear_all(t->c, &next);
    cas_batch_start(t->c, &b);
    if (cas_register_commit(t, &next, &b)) {
        cas_answer(t, 200, cas_public(t->c));
    }
}

static const char *const health_names[] = {[REGISTER_HEALTH_NONE] = "none",
                                           [REGISTER_HEALTH_WHOLE] = "whole",
                                           [REGISTER_HEALTH_CHANGING] = "changing",
                                           [REGISTER_HEALTH_MAJORITY_LOST] = "majority_lost"};

static json_t *member_json(struct cas *c, uint32_t place)
{
    const struct cluster_member *m = &c->cluster.members[place];
    const struct cas_claim *claim = cas_find_claim(c, m->incarnation);
    uint32_t slots = 0, joining = 0;

    register_slots(&c->reg, place, &slots, &joining);
    return json_pack("{s:I,s:I,s:s,s:s,s:i,s:i,s:b,s:b,s:I,s:I}", "node", (json_int_t)m->node,
                     "incarnation", (json_int_t)m->incarnation, "role",
                     cluster_role(&c->cluster, place), "address", m->address, "control_port",
                     (int)m->control_port, "port", (int)m->data_port, "joined", claim != NULL,
                     "lost", register_is_lost(&c->reg, m->incarnation), "slots", (json_int_t)slots,
                     "slots_joining", (json_int_t)joining);
}

/* Where the cluster stands, with the configuration to hand out. */
static json_t *standing_json(struct cas *c)
{
    const struct config_register *r = &c->reg;
    json_t *o = cas_public(c), *members = json_array();
    struct register_moves moves = register_moves(r);
    struct explain why = {0};

    register_explain(r, &why);
    for (uint32_t i = 0; i < c->cluster.members_n; i++) {
        (void)json_array_append_new(members, member_json(c, i));
    }
    (void)json_object_set_new(o, "health", json_string(health_names[register_health(r)]));
    (void)json_object_set_new(o, "what", json_string(why.text));
    (void)json_object_set_new(o, "replication_factor", json_integer(r->replication_factor));
    (void)json_object_set_new(o, "groups", json_integer(c->cluster.groups_n));
    (void)json_object_set_new(o, "groups_moving", json_integer(moves.groups));
    (void)json_object_set_new(o, "copies_under_way", json_integer(moves.copying));
    (void)json_object_set_new(o, "groups_lost", json_integer(moves.lost));
    (void)json_object_set_new(o, "losses_accepted", json_integer(r->losses_accepted));
    (void)json_object_set_new(o, "members", members);
    return o;
}

void cas_on_members(struct cas_turn *t)
{
    if ((t->has_key && memcmp(t->key_hash, t->c->owner_hash, sizeof(t->key_hash)) == 0) ||
        cas_is_current(t)) {
        cas_answer(t, 200, standing_json(t->c));
    }
}

/* ---- the owner's orders, CAS-52 ---- */

struct order {
    const json_t *body;
    uint32_t node;
};

static uint32_t number_of(const json_t *body, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(body, key));

    return n < 0 || n > UINT32_MAX ? 0 : (uint32_t)n;
}

/* The lowest number that no member and no wish has. */
static uint32_t free_node(const struct config_register *r)
{
    uint32_t node = 1;

    for (uint32_t i = 0; i < r->wishes_n + r->current.members_n + r->next.members_n; i++) {
        bool taken = false;

        for (uint32_t k = 0; k < r->wishes_n; k++) {
            taken = taken || r->wishes[k].node == node;
        }
        for (uint32_t k = 0; k < r->current.members_n; k++) {
            taken = taken || r->current.members[k].node == node;
        }
        for (uint32_t k = 0; k < r->next.members_n; k++) {
            taken = taken || r->next.members[k].node == node;
        }
        if (!taken) {
            break;
        }
        node++;
    }
    return node;
}

/* A new node; 0: the lowest number that is free. */
static enum err describe(const struct config_register *r, struct order *o, uint32_t node,
                         struct register_wish *ret, struct explain *why)
{
    const char *address = json_string_value(json_object_get(o->body, "address"));
    struct register_wish w = {.node = node == 0 ? free_node(r) : node};
    uint32_t control = number_of(o->body, "control_port"), data = number_of(o->body, "data_port");

    if (address == NULL || control < 1 || control > UINT16_MAX || data < 1 ||
        data + r->current.shards > UINT16_MAX + 1U || cluster_address(address, w.address) != OK) {
        explain(why, "say where the node is to be: address (a literal), control_port, data_port");
        return ERR_USAGE;
    }
    w.control_port = (uint16_t)control;
    w.data_port = (uint16_t)data;
    o->node = w.node;
    *ret = w;
    return OK;
}

static enum err order_add(struct config_register *r, struct order *o, struct explain *why)
{
    struct register_wish w;

    TRY(describe(r, o, o->node, &w, why));
    return register_wish_add(r, &w, why);
}

static enum err order_remove(struct config_register *r, struct order *o, struct explain *why)
{
    return register_wish_remove(r, o->node, why);
}

static enum err order_replace(struct config_register *r, struct order *o, struct explain *why)
{
    struct register_wish w;
    uint32_t old = o->node;

    TRY(describe(r, o, number_of(o->body, "by"), &w, why));
    return register_wish_replace(r, old, &w, why);
}

static enum err order_factor(struct config_register *r, struct order *o, struct explain *why)
{
    return register_wish_factor(r, o->node, why);
}

/* Somebody whom the owner trusts with it has seen the process end. */
static enum err order_lost(struct config_register *r, struct order *o, struct explain *why)
{
    (void)why;
    register_on_lost(r, number_of(o->body, "incarnation"));
    return OK;
}

/* MEM-13: may this voter be ended, though it runs? Changes nothing. */
static enum err order_spare(struct config_register *r, struct order *o, struct explain *why)
{
    int place = keeping_place(register_latest(r), number_of(o->body, "incarnation"));
    const json_t *list = json_object_get(o->body, "sound");
    uint32_t sound = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t incarnation = json_integer_value(json_array_get(list, i));
        int at = incarnation < 1 || incarnation > UINT32_MAX
                     ? -1
                     : keeping_place(register_latest(r), (uint32_t)incarnation);

        sound |= at < 0 ? 0 : UINT32_C(1) << at;
    }
    if (place < 0 || !register_can_spare(r, (uint32_t)place, sound)) {
        explain(why, "too few other voters answer and hold everything, or something is changing");
        return ERR_POLICY;
    }
    return OK;
}

static enum err order_accept_loss(struct config_register *r, struct order *o, struct explain *why)
{
    (void)o;
    return register_accept_loss(r, why);
}

static const struct {
    const char *name;
    enum err (*act)(struct config_register *r, struct order *o, struct explain *why);
} orders[] = {
    {"add", order_add},       {"remove", order_remove}, {"replace", order_replace},
    {"factor", order_factor}, {"lost", order_lost},     {"accept-loss", order_accept_loss},
    {"spare", order_spare},
};

void cas_on_member(struct cas_turn *t)
{
    struct order o = {.body = t->body, .node = number_of(t->body, "node")};
    struct config_register next = t->c->reg;
    const char *what = NULL;
    struct explain why = {0};
    struct cas_batch b;
    size_t i = 0;
    enum err err;

    if (!cas_is_owner(t) || (what = cas_text(t, "do")) == NULL) {
        return;
    }
    while (i < sizeof(orders) / sizeof(orders[0]) && strcmp(orders[i].name, what) != 0) {
        i++;
    }
    if (i == sizeof(orders) / sizeof(orders[0])) {
        cas_refuse(t, 400, "USAGE", "no order '%.32s'", what);
        return;
    }
    err = orders[i].act(&next, &o, &why);
    if (err != OK) {
        cas_refuse(t, err == ERR_USAGE ? 400 : 409, err_name(err), "%s", why.text);
        return;
    }
    cas_batch_start(t->c, &b);
    if (next.version != t->c->reg.version) {
        cas_batch_audit(&b, t->r->now_s, "member", "owner", "%s %u", orders[i].name,
                        o.node == 0 ? number_of(t->body, "incarnation") : o.node);
    }
    if (cas_register_commit(t, &next, &b)) {
        json_t *answer = standing_json(t->c);

        (void)json_object_set_new(answer, "node", json_integer(o.node));
        cas_answer(t, 200, answer);
    }
}

/* ---- CAS-40: an empty beginning ---- */

/* The members as the request wants them, else as they were. */
static bool read_beginning(struct cas_turn *t, struct cluster *ret)
{
    const char *text = json_string_value(json_object_get(t->body, "configuration"));
    struct explain why = {0};

    *ret = t->c->reg.current;
    if (text == NULL) {
        return true;
    }
    if (cluster_parse(text, strlen(text), ret, &why) != OK) {
        cas_refuse(t, 400, "MALFORMED", "configuration: %s", why.text);
        return false;
    }
    if (memcmp(ret->id, t->c->cluster.id, sizeof(ret->id)) != 0) {
        cas_refuse(t, 403, "POLICY", "the configuration is of another cluster");
        return false;
    }
    return true;
}

void cas_on_epoch(struct cas_turn *t)
{
    struct config_register next = t->c->reg;
    struct cluster first;
    struct explain why = {0};
    struct cas_batch b;

    if (!cas_is_owner(t)) {
        return;
    }
    if (!json_is_true(json_object_get(t->body, "accept_data_loss"))) {
        cas_refuse(t, 403, "DATA_AT_RISK",
                   "a new epoch of new members starts empty: say \"accept_data_loss\": true if no "
                   "replica runs any more");
        return;
    }
    if (!read_beginning(t, &first)) {
        return;
    }
    for (uint32_t i = 0; i < t->c->reg.current.members_n; i++) {
        register_on_lost(&next, t->c->reg.current.members[i].incarnation);
    }
    for (uint32_t i = 0; i < t->c->reg.next.members_n; i++) {
        register_on_lost(&next, t->c->reg.next.members[i].incarnation);
    }
    if (register_found_again(&next, &first, &why) != OK) {
        cas_refuse(t, 409, "POLICY", "%s", why.text);
        return;
    }
    cas_batch_start(t->c, &b);
    cas_batch_audit(&b, t->r->now_s, "found again", "owner", "epoch %llu, empty",
                    (unsigned long long)register_latest(&next)->epoch);
    if (cas_register_commit(t, &next, &b)) {
        cas_answer(t, 200, standing_json(t->c));
    }
}
