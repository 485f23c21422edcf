// SPDX-License-Identifier: Apache-2.0
/* Nonces that cost no memory until they are used: CAS-30. time 8 | random 8 | MAC 16. */
#include "trusted/cas/cas_internal.h"

#include "common/codec.h"
#include "trusted/crypto/ct.h"
#include "trusted/crypto/entropy.h"

enum { CLEAR_LEN = 16, MAC_LEN = 16 };

static void mac(const struct cas *c, const uint8_t *clear, uint8_t ret[static SHA256_LEN])
{
    const struct bytes part = {clear, CLEAR_LEN};

    hmac_sha256((struct bytes){c->nonce_key.b, sizeof(c->nonce_key.b)}, &part, 1, ret);
}

void cas_nonce_make(const struct cas *c, uint64_t now_s, uint8_t ret[static EVIDENCE_NONCE_LEN])
{
    uint8_t full[SHA256_LEN];

    memcpy(ret, &now_s, sizeof(now_s));
    entropy_fill(ret + 8, 8);
    mac(c, ret, full);
    memcpy(ret + CLEAR_LEN, full, MAC_LEN);
}

bool cas_nonce_is_good(const struct cas *c, uint64_t now_s,
                       const uint8_t nonce[static EVIDENCE_NONCE_LEN], const char **ret_why)
{
    uint8_t full[SHA256_LEN];
    uint64_t at_s = 0;

    mac(c, nonce, full);
    if (!ct_equal(full, nonce + CLEAR_LEN, MAC_LEN)) {
        *ret_why = "replayed evidence: its nonce is not of this CAS since its last start";
        return false;
    }
    memcpy(&at_s, nonce, sizeof(at_s));
    if (now_s > at_s + CAS_NONCE_LIFE_S) {
        *ret_why = "replayed evidence: its nonce is too old; ask for a new one";
        return false;
    }
    if (c->nonce[c->nonce_at % CAS_NONCES_MAX].until_s >= now_s) {
        *ret_why = "too many processes joined within the last two minutes; try again later";
        return false;
    }
    for (uint32_t i = 0; i < CAS_NONCES_MAX; i++) {
        if (c->nonce[i].until_s != 0 && memcmp(c->nonce[i].id, nonce, CLEAR_LEN) == 0) {
            *ret_why = "replayed evidence: its nonce was used before";
            return false;
        }
    }
    return true;
}

/* The oldest makes room: it is over by then, else cas_nonce_is_good would have refused. */
void cas_nonce_use(struct cas *c, uint64_t now_s, const uint8_t nonce[static EVIDENCE_NONCE_LEN])
{
    struct cas_nonce *n = &c->nonce[c->nonce_at++ % CAS_NONCES_MAX];

    memcpy(n->id, nonce, CLEAR_LEN);
    n->until_s = now_s + CAS_NONCE_LIFE_S;
}
