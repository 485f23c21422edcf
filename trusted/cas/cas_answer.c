// SPDX-License-Identifier: Apache-2.0
#include "trusted/cas/cas_internal.h"

#include <stdarg.h>
#include <stdio.h>

void cas_answer(struct cas_turn *t, unsigned status, json_t *body)
{
    json_decref(t->to->body);
    t->to->status = body == NULL ? 503 : status;
    t->to->body = body == NULL ? json_object() : body;
}

const char *cas_who(const struct cas_turn *t, char to[static 96])
{
    if (!t->has_name) {
        (void)snprintf(to, 96, "somebody unproven");
    } else if (t->name.role == ROLE_REPLICA) {
        (void)snprintf(to, 96, "replica %u, incarnation %u", t->name.node, t->name.incarnation);
    } else {
        (void)snprintf(to, 96, "%s '%s'", t->name.role == ROLE_SERVICE ? "service" : "client",
                       t->name.client);
    }
    return to;
}

void cas_refuse(struct cas_turn *t, unsigned status, const char *code, const char *format, ...)
{
    char text[512], who[96];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++) {
        *p = (char)(*p < ' ' || *p > '~' ? '?' : *p);
    }
    (void)snprintf(t->to->log, sizeof(t->to->log), "refused %s at %s: %.150s", cas_who(t, who),
                   t->r->path, text);
    cas_answer(t, status, json_pack("{s:{s:s,s:s}}", "error", "code", code, "message", text));
}

void cas_refuse_verdict(struct cas_turn *t, const char *who, const struct attest_verdict *v)
{
    const struct attest_failure *first = &v->failure[0];
    json_t *list = json_array(), *error = NULL;

    for (uint32_t i = 0; i < v->failures_n; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:s}", "rule", attest_rule_name(v->failure[i].rule), "found",
                            v->failure[i].found, "wanted", v->failure[i].wanted));
    }
    cas_refuse(t, 403, attest_rule_name(first->rule), "%s is refused by rule %s: %s; wanted is %s",
               who, attest_rule_name(first->rule), first->found, first->wanted);
    error = json_object_get(t->to->body, "error");
    (void)json_object_set_new(error, "failures", list);
}

bool cas_is_owner(struct cas_turn *t)
{
    if (t->has_key && memcmp(t->key_hash, t->c->owner_hash, sizeof(t->key_hash)) == 0) {
        return true;
    }
    cas_refuse(t, 403, "OWNER",
               "only the owner of the cluster may do this: show the owner's key in "
               "TLS");
    return false;
}

const char *cas_text(struct cas_turn *t, const char *key)
{
    const json_t *j = json_object_get(t->body, key);

    if (!json_is_string(j) || strlen(json_string_value(j)) != json_string_length(j)) {
        cas_refuse(t, 400, "MALFORMED", "the request has no text '%s'", key);
        return NULL;
    }
    return json_string_value(j);
}

bool cas_hex(const char *text, size_t n, uint8_t *to, size_t to_n)
{
    static const char digits[16] = {'0', '1', '2', '3', '4', '5', '6', '7',
                                    '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};

    if (n != 2 * to_n) {
        return false;
    }
    memset(to, 0, to_n);
    for (size_t i = 0; i < n; i++) {
        const char *at = memchr(digits, text[i], sizeof(digits));

        if (at == NULL) {
            return false;
        }
        to[i / 2] = (uint8_t)(to[i / 2] << 4 | (at - digits));
    }
    return true;
}

void cas_to_hex(struct bytes b, char *to)
{
    for (size_t i = 0; i < b.n; i++) {
        (void)snprintf(to + 2 * i, 3, "%02x", (unsigned)b.p[i]);
    }
    to[2 * b.n] = '\0';
}
