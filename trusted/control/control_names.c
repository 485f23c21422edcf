// SPDX-License-Identifier: Apache-2.0
/* Names while the node runs: our own renewed, those of clients revoked. CTL-11, CTL-12 */
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "trusted/control/identity_internal.h"

#include <stdlib.h>

static bool same_name(const struct identity_name *a, const struct identity_name *b)
{
    char one[160], two[160];

    identity_name_format(a, one);
    identity_name_format(b, two);
    return strcmp(one, two) == 0;
}

uint64_t control_expiry(const struct control *c, const struct stream *s)
{
    const uint64_t ns_per_s = UINT64_C(1000000000);
    uint64_t until_s = tls_peer_until(s->tls), left_s;

    left_s = until_s >= c->first_s ? until_s - c->first_s + 1 : 0;
    return left_s > UINT32_MAX ? UINT64_MAX : c->first_ns + left_s * ns_per_s;
}

RESULT control_set_identity(struct control *c, uint64_t now_ns, const struct identity *id)
{
    uint64_t loaded_s = identity_loaded_at_s(id), now_s;

    control_set_time(c, now_ns);
    if (!same_name(identity_self(id), identity_self(c->c.identity))) {
        return ERR_POLICY;
    }
    now_s = control_unix_time(c);
    c->first_s = loaded_s > now_s ? loaded_s : now_s;
    c->first_ns = c->now_ns;
    c->c.identity = id;
    return OK;
}

void control_set_trust(struct control *c, struct bytes ca_pem, struct bytes text, struct bytes sig)
{
    if (c->ca_pem_n == 0) {
        return; /* this node tells and takes none */
    }
    free(c->ca_pem);
    c->ca_pem = malloc(ca_pem.n);
    CHECK(c->ca_pem != NULL);
    memcpy(c->ca_pem, ca_pem.p, ca_pem.n);
    c->ca_pem_n = ca_pem.n;
    if (text.n == c->config_n && memcmp(text.p, c->config, text.n) == 0 && sig.n > 0 &&
        sig.n <= sizeof(c->config_sig)) {
        memcpy(c->config_sig, sig.p, sig.n);
        c->config_sig_n = sig.n;
    }
}

void control_set_revoked(struct control *c, uint64_t now_ns, const struct control_revoked *all)
{
    CHECK(all->n <= CONTROL_REVOKED_MAX);
    control_set_time(c, now_ns);
    c->revoked = *all;
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        struct stream *s = c->streams[i];

        if (s != NULL && s->phase == STREAM_LIVE && s->role == ROLE_CLIENT &&
            control_is_revoked(c, tls_peer(s->tls))) {
            control_refuse(c, s, ERR_POLICY, CONTROL_REVOKED_TEXT);
        }
    }
}
