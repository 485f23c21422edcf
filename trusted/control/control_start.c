// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "trusted/config/explain.h"
#include "trusted/control/identity_internal.h"

#include <openssl/crypto.h>

#include <stdlib.h>

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
    if (me->epoch > cluster->epoch) {
        explain(why,
                "our certificate is of configuration epoch %llu, the configuration of epoch %llu; "
                "get the newer configuration",
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
    c->cluster = *k->cluster;
    c->c.cluster = &c->cluster;
    c->self = self;
    c->first_s = identity_loaded_at_s(k->identity);
    if (k->config.n > 0) {
        control_keep_config(c, k->config, k->config_sig);
        c->ca_pem = malloc(k->ca_pem.n);
        CHECK(c->ca_pem != NULL);
        memcpy(c->ca_pem, k->ca_pem.p, k->ca_pem.n);
        c->ca_pem_n = k->ca_pem.n;
    }
    c->log_tokens = LOG_BURST;
    if (c->c.sessions_max == 0) {
        c->c.sessions_max = RPC_SESSIONS_MAX;
    }
    if (control_meet_members(c, why) != OK) {
        control_fini(c);
        return ERR_MALFORMED;
    }
    for (uint32_t i = 0; i < k->cluster->shards; i++) {
        CHECK(index_pool_init(&c->pools[i], c->c.sessions_max, c->c.index_key));
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
    free(c->config);
    free(c->ca_pem);
    OPENSSL_cleanse(c, sizeof(*c));
    free(c);
}
