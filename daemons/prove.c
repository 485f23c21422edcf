// SPDX-License-Identifier: Apache-2.0
#include "daemons/prove.h"

#include "daemons/las_ask.h"
#include "trusted/config/explain.h"

#include <stdlib.h>

RESULT prove_call(const struct prove_options *o, const struct prove_ask *ask, json_t **ret,
                  struct explain *why)
{
    const struct cas_ask whole = {.method = ask->method,
                                  .path = ask->path,
                                  .body = ask->body,
                                  .cert = ask->cert,
                                  .key = ask->key,
                                  .timeout_ms = o->timeout_ms,
                                  .refused = "the CAS refuses us: "};
    enum err err = cas_call(&o->cas, &whole, ret, why);

    return err == ERR_USAGE ? ERR_POLICY : err; /* nobody here gave us words to correct */
}

static enum err get_nonce(const struct prove_options *o, EVP_PKEY *key, X509 *cert,
                          uint8_t ret[static EVIDENCE_NONCE_LEN], struct explain *why)
{
    const struct prove_ask ask = {"POST", "/v1/challenge", json_object(), key, cert};
    json_t *answer = NULL;
    const char *hex = NULL;
    bool good = false;

    TRY(prove_call(o, &ask, &answer, why));
    hex = json_string_value(json_object_get(answer, "nonce"));
    good = hex != NULL && strlen(hex) == (size_t)2 * EVIDENCE_NONCE_LEN;
    for (size_t i = 0; good && i < (size_t)2 * EVIDENCE_NONCE_LEN; i++) {
        const char *at = strchr("0123456789abcdef", hex[i]);

        good = at != NULL;
        ret[i / 2] = (uint8_t)(ret[i / 2] << 4 | (good ? at - "0123456789abcdef" : 0));
    }
    json_decref(answer);
    if (!good) {
        explain(why, "the CAS gives no nonce");
        return ERR_MALFORMED;
    }
    return OK;
}

static enum err add_evidence(const struct evidence_source *s, const struct evidence_binding *b,
                             json_t *body, struct explain *why)
{
    uint8_t data[EVIDENCE_REPORT_DATA_LEN];
    struct evidence e = {0};
    int code;

    evidence_report_data(b, data);
    TRY(evidence_make(s, data, &e, why));
    code = json_object_set_new(body, "evidence", evidence_to_json(&e));
    evidence_free(&e);
    return code == 0 ? OK : ERR_IO;
}

static enum err add_token(const char *socket, const struct evidence_binding *b, json_t *body,
                          struct explain *why)
{
    uint8_t token[LAS_TOKEN_MAX];
    size_t n = 0;
    char *text = NULL;
    int code;

    TRY(las_ask(socket, b, token, &n, why));
    text = evidence_base64((struct bytes){token, n});
    code = json_object_set_new(body, "token", json_string(text == NULL ? "" : text));
    free(text);
    return code == 0 ? OK : ERR_IO;
}

RESULT prove(const struct prove_options *o, const struct prove_ask *ask, json_t **ret,
             struct explain *why)
{
    struct evidence_binding b = {0};
    enum err err = https_key_hash(ask->cert, b.key_hash);

    if (err == OK) {
        err = get_nonce(o, ask->key, ask->cert, b.nonce, why);
    }
    if (err == OK) {
        err = o->las != NULL ? add_token(o->las, &b, ask->body, why)
                             : add_evidence(o->evidence, &b, ask->body, why);
    }
    if (err != OK) {
        json_decref(ask->body);
        return err;
    }
    return prove_call(o, ask, ret, why);
}
