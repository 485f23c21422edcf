// SPDX-License-Identifier: Apache-2.0
#include "trusted/https/cas_call.h"

#include "trusted/config/explain.h"

#include <stdlib.h>
#include <string.h>

static enum err judge(const struct cas_ask *ask, unsigned status, const json_t *answer,
                      struct explain *why)
{
    const json_t *error = json_object_get(answer, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "message"));

    if (status == 200) {
        return OK;
    }
    explain(why, "%s%s", ask->refused,
            text == NULL ? "the CAS refuses, and gives no reason" : text);
    if (status >= 500 || status == 429) {
        return ERR_UNAVAILABLE;
    }
    return code != NULL && strcmp(code, "USAGE") == 0 ? ERR_USAGE : ERR_POLICY;
}

RESULT cas_call(const struct https_peer *cas, const struct cas_ask *ask, json_t **ret,
                struct explain *why)
{
    char *text = ask->body == NULL ? NULL : json_dumps(ask->body, JSON_COMPACT);
    const struct https_ask https = {
        .method = ask->method,
        .path = ask->path,
        .body = {(const uint8_t *)text, text == NULL ? 0 : strlen(text)},
        .cert = ask->cert,
        .key = ask->key,
        .timeout_ms = ask->timeout_ms,
    };
    struct https_answer answer = {0};
    json_t *json = NULL;
    enum err err = https_call(cas, &https, &answer, why);

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
        err = judge(ask, answer.status, json, why);
    }
    https_answer_free(&answer);
    if (err != OK) {
        json_decref(json);
        return err;
    }
    *ret = json;
    return OK;
}
