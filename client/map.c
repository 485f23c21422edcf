// SPDX-License-Identifier: Apache-2.0
/* Which nodes there are and which keys they hold: what the newest signed configuration says. CLI-18
 */
#include "client/client.h"
#include "trusted/config/explain.h"
#include "trusted/config/file.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { CA_BYTES_MAX = 64 << 10 };

static uint32_t place_of(const struct avo_client *c, uint32_t node)
{
    uint32_t i = 0;

    while (i < c->profile.members_n && c->profile.members[i].node != node) {
        i++;
    }
    return i;
}

static bool fill(struct profile_member *to, const struct cluster_member *m)
{
    struct profile_member p = {.node = m->node, .control_port = m->control_port};

    p.host.family = strchr(m->address, ':') == NULL ? 4 : 6;
    if (inet_pton(p.host.family == 4 ? AF_INET : AF_INET6, m->address, p.host.ip) != 1) {
        return false;
    }
    (void)snprintf(p.address, sizeof(p.address), "%s", m->address);
    *to = p;
    return true;
}

static bool same_member(const struct profile_member *a, const struct profile_member *b)
{
    return a->node == b->node && a->control_port == b->control_port &&
           a->host.family == b->host.family && memcmp(a->host.ip, b->host.ip, 16) == 0;
}

/* The place is nobody's from now on. */
static void leave(struct avo_client *c, uint32_t place, uint64_t now_ns)
{
    core_node_down(c->core, now_ns, place, true);
    link_leave(&c->links[place], &c->env, OK, "the node is no member any more");
    link_fini(&c->links[place]);
    link_init(&c->links[place], place);
    c->links[place].wake_at_ns = UINT64_MAX;
    c->profile.members[place] = (struct profile_member){0};
}

/* A node that we know under that number and address stays where it is. */
static bool enter(struct avo_client *c, const struct cluster_member *m, uint64_t now_ns)
{
    uint32_t place = place_of(c, m->node);
    struct profile_member p;

    if (!fill(&p, m)) {
        return false;
    }
    if (place < c->profile.members_n && same_member(&c->profile.members[place], &p)) {
        return true;
    }
    if (place < c->profile.members_n) {
        leave(c, place, now_ns);
    } else {
        place = place_of(c, 0); /* one that nobody has any more */
    }
    if (place == CLUSTER_MAX) {
        return false;
    }
    if (place == c->profile.members_n) {
        c->profile.members_n++;
    }
    c->profile.members[place] = p;
    link_init(&c->links[place], place);
    return true;
}

static bool is_member(const struct cluster *k, uint32_t node)
{
    for (uint32_t i = 0; i < k->members_n; i++) {
        if (k->members[i].node == node) {
            return true;
        }
    }
    return false;
}

static void apply(struct avo_client *c, const struct cluster *k, uint64_t now_ns)
{
    struct core_map map = {.groups_n = k->groups_n};
    uint32_t places[CLUSTER_MAX];

    for (uint32_t i = 0; i < c->profile.members_n; i++) {
        if (c->profile.members[i].node != 0 && !is_member(k, c->profile.members[i].node)) {
            leave(c, i, now_ns);
        }
    }
    for (uint32_t i = 0; i < k->members_n; i++) {
        places[i] = enter(c, &k->members[i], now_ns) ? place_of(c, k->members[i].node)
                                                     : (uint32_t)CLUSTER_MAX;
    }
    for (uint32_t g = 0; g < k->groups_n; g++) {
        for (uint32_t i = 0; i < k->members_n; i++) {
            if ((k->groups[g].voters >> i & 1) != 0 && places[i] < CLUSTER_MAX) {
                map.at[g] |= UINT32_C(1) << places[i];
            }
        }
    }
    core_set_map(c->core, now_ns, &map);
    c->map_epoch = k->epoch;
}

static enum err check(const struct avo_client *c, struct bytes text, struct bytes sig,
                      struct cluster *ret)
{
    struct explain why = {0};
    char *ca = NULL;
    size_t n = 0;
    enum err err;

    TRY(file_read(c->profile.ca_file, FILE_PUBLIC, CA_BYTES_MAX, &ca, &n, &why));
    err = cluster_check(text, sig, (struct bytes){(const uint8_t *)ca, n}, ret, &why);
    file_free(ca, n);
    if (err == OK && memcmp(ret->id, c->profile.cluster, sizeof(ret->id)) != 0) {
        err = ERR_POLICY;
    }
    return err;
}

void client_take_config(struct avo_client *c, struct link *l, uint64_t now_ns)
{
    struct bytes text, sig;
    struct cluster k;

    if (c->core == NULL || l->dialer == NULL || !dialer_take_config(l->dialer, &text, &sig) ||
        check(c, text, sig, &k) != OK || k.epoch <= c->map_epoch ||
        (c->map_epoch != 0 && k.groups_n != core_groups(c->core))) {
        return; /* whoever signed nothing changes nothing */
    }
    apply(c, &k, now_ns);
}
