// SPDX-License-Identifier: Apache-2.0
/* The verifier: kind u8, then evidence and the files of a collateral folder in their order, each
 * u32 length and bytes. Nothing may crash, and only what is recorded may verify; the explanations
 * of evidence and verdict must be there for anything. */
#include "common/check.h"
#include "common/codec.h"
#include "trusted/attest/attest.h"
#include "trusted/attest/attest_explain.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void explain_all(const struct attest_input *in, const struct attest_verdict *v)
{
    struct explain why = {0};
    char *text = attest_explain_verdict(v, ATTEST_FORM_JSON);

    CHECK(text != NULL);
    free(text);
    text = NULL;
    if (attest_explain_evidence(in->evidence, ATTEST_FORM_TEXT, &text, &why) != OK) {
        CHECK(why.text[0] != '\0');
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct attest_verdict v;
    struct attest_input in = {.now_s = 1756000000};
    struct attest_collateral *c = &in.collateral;
    struct bytes *const slots[] = {
        &in.evidence, &c->pck_chain,   &c->tcb_info, &c->qe_identity, &c->tcb_signing_chain,
        &c->pck_crl,  &c->root_ca_crl, &c->vcek,     &c->vlek,        &c->ask,
        &c->asvk,     &c->ark,         &c->crl,      &c->auxblob,
    };
    struct reader r = {.rest = {data, size}};
    uint8_t *copy[sizeof(slots) / sizeof(slots[0])] = {0};

    in.kind = (enum attest_kind)(1 + get_u8(&r) % (ATTEST_KINDS_N - 1));
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        struct bytes b = get_bytes(&r, get_u32(&r));

        if (r.failed) {
            break;
        }
        copy[i] = malloc(b.n == 0 ? 1 : b.n); /* of its own, so that a sanitizer sees its end */
        CHECK(copy[i] != NULL);
        if (b.n > 0) {
            memcpy(copy[i], b.p, b.n);
        }
        *slots[i] = (struct bytes){copy[i], b.n};
    }
    attest_roots_vendor(in.kind, &in.roots);
    attest_verify(&in, &v);
    CHECK(v.verifies || v.failures_n > 0);
    CHECK(!v.verifies || v.signature_verifies);
    CHECK(!v.verifies || in.kind != ATTEST_SOFTWARE); /* no root is pinned for it */
    explain_all(&in, &v);
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        free(copy[i]);
    }
    return 0;
}
