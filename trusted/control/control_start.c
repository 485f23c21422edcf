// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "trusted/config/explain.h"
#include "trusted/control/identity_internal.h"

#include <openssl/crypto.h>

#include <arpa/inet.h>
#include <stdlib.h>

static bool read_address(const char *text, struct abi_addr *ret)
{
    struct abi_addr a = {.family = strchr(text, ':') == NULL ? 4 : 6};

    if (inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.ip) != 1) {
        return false;
    }
    *ret = a;
    return true;
}

/* Finds our place; the identity must be exactly that member's. */
static enum err find_self(const struct control_config *k, uint8_t *ret, struct explain *why)
{
    const struct identity_name *me = identity_self(k->identity);
    const struct cluster *cluster = k->cluster;

    if (me->role != ROLE_REPLICA || memcmp(me->cluster, cluster->id, sizeof(me->cluster)) != 0) {
        explain(why, "our certificate is not of a replica of cluster '%s'; issue one",
                cluster->name);
        return ERR_POLICY;
    }
    if (me->epoch != cluster->epoch) {
        explain(why,
                "our certificate is of configuration epoch %llu, the configuration of epoch %llu; "
                "issue a new one",
                (unsigned long long)me->epoch, (unsigned long long)cluster->epoch);
        return ERR_EPOCH;
    }
    for (uint8_t i = 0; i < cluster->members_n; i++) {
        if (cluster->members[i].node == me->node &&
            cluster->members[i].incarnation == me->incarnation) {
            *ret = i;
            return OK;
        }
    }
    explain(why,
            "incarnation %u of node %u, which our certificate names, is no member of the "
            "configuration; issue a new one",
            me->incarnation, me->node);
    return ERR_POLICY;
}

RESULT control_init(const struct control_config *k, struct control **ret, struct explain *why)
{
    struct control *c = NULL;
    uint8_t self = 0;

    CHECK(k->handshake_timeout_ns > 0 && k->redial_ns > 0);
    TRY(find_self(k, &self, why));
    c = calloc(1, sizeof(*c));
    CHECK(c != NULL);
    c->c = *k;
    c->self = self;
    c->first_s = identity_loaded_at_s(k->identity);
    c->log_tokens = LOG_BURST;
    if (c->c.sessions_max == 0) {
        c->c.sessions_max = RPC_SESSIONS_MAX;
    }
    for (uint8_t i = 0; i < k->cluster->members_n; i++) {
        if (!read_address(k->cluster->members[i].address, &c->addr[i])) {
            explain(why, "member %u: '%s' is no address", k->cluster->members[i].node,
                    k->cluster->members[i].address);
            control_fini(c);
            return ERR_MALFORMED;
        }
        c->members[i].pause_ns = k->redial_ns;
        c->members[i].dial = i > self ? DIAL_WAIT : DIAL_NEVER;
    }
    for (uint32_t i = 0; i < k->cluster->shards; i++) {
        CHECK(index_pool_init(&c->pools[i], c->c.sessions_max));
    }
    *ret = c;
    return OK;
}

void control_fini(struct control *c)
{
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        if (c->streams[i] != NULL) {
            control_stream_free(c, c->streams[i]);
        }
    }
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        index_pool_fini(&c->pools[i]);
    }
    control_queue_fini(c);
    OPENSSL_cleanse(c, sizeof(*c));
    free(c);
}
