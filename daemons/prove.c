// SPDX-License-Identifier: Apache-2.0
#include "daemons/prove.h"

#include "daemons/las_ask.h"
#include "trusted/config/explain.h"

#include <stdlib.h>

static enum err judge(const struct https_answer *a, json_t *answer, struct explain *why)
{
    const json_t *error = json_object_get(answer, "error");
    const char *text = json_string_value(json_object_get(error, "message"));

    if (a->status == 200) {
        return OK;
    }
    explain(why, "the CAS refuses us: %s", text == NULL ? "it gives no reason" : text);
    return a->status >= 500 || a->status == 429 ? ERR_UNAVAILABLE : ERR_POLICY;
}

RESULT prove_call(const struct prove_options *o, const struct prove_ask *ask, json_t **ret,
                  struct explain *why)
{
    char *text = ask->body == NULL ? NULL : json_dumps(ask->body, JSON_COMPACT);
    struct https_ask https = {
        .method = ask->method,
        .path = ask->path,
        .body = {(const uint8_t *)text, text == NULL ? 0 : strlen(text)},
        .cert = ask->cert,
        .key = ask->key,
        .timeout_ms = o->timeout_ms,
    };
    struct https_answer answer = {0};
    json_t *json = NULL;
    enum err err = https_call(&o->cas, &https, &answer, why);

    free(text);
    json_decref(ask->body);
    if (err != OK) {
        return err;
    }
    json = json_loadb(answer.body, answer.body_n, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL) {
        explain(why, "the answer of the CAS is no JSON; is it an avocado-cas?");
        err = ERR_MALFORMED;
    } else {
        err = judge(&answer, json, why);
    }
    https_answer_free(&answer);
    if (err != OK) {
        json_decref(json);
        return err;
    }
    *ret = json;
    return OK;
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
