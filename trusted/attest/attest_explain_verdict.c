// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_explain.h"
#include "trusted/attest/attest_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *hex_string(struct bytes b)
{
    char hex[2 * ATTEST_DIGEST_MAX + 3];

    return json_string(attest_hex(b, hex, sizeof(hex)));
}

/* JSON null where there is nothing to say. */
static json_t *text_or_null(const char *text)
{
    return text == NULL || *text == '\0' ? json_null() : json_string(text);
}

/* The names of failed rules, each once. */
static json_t *reasons(const struct attest_verdict *v)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < v->failures_n; i++) {
        bool is_new = true;

        for (uint32_t j = 0; j < i; j++) {
            is_new &= v->failure[j].rule != v->failure[i].rule;
        }
        if (is_new) {
            (void)json_array_append_new(list, json_string(attest_rule_name(v->failure[i].rule)));
        }
    }
    return list;
}

static json_t *failures(const struct attest_verdict *v)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < v->failures_n; i++) {
        const struct attest_failure *f = &v->failure[i];

        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s}", "rule", attest_rule_name(f->rule), "asks",
                            attest_rule_asks(f->rule), "found", f->found, "wanted", f->wanted));
    }
    return list;
}

static void add_evidence(const struct attest_verdict *v, json_t *o)
{
    json_t *fields = json_object(), *numbers = json_object();

    for (uint32_t i = 0; i < v->fields_n; i++) {
        (void)json_object_set_new(fields, v->field[i].name, hex_string(v->field[i].value));
    }
    for (uint32_t i = 0; i < v->numbers_n; i++) {
        (void)json_object_set_new(numbers, v->number[i].name,
                                  json_integer((json_int_t)v->number[i].value));
    }
    (void)json_object_set_new(o, "version", json_integer(v->version));
    (void)json_object_set_new(o, "measurements", fields);
    (void)json_object_set_new(o, "numbers", numbers);
    (void)json_object_set_new(o, "report_data",
                              v->parsed ? hex_string(v->report_data) : json_null());
}

static char *as_json(const struct attest_verdict *v)
{
    json_t *o = json_object(), *advisories = json_array();
    char text[32], *out = NULL;
    bool has_window = v->valid_until_s != UINT64_MAX;

    (void)json_object_set_new(o, "kind", text_or_null(attest_kind_name(v->kind)));
    (void)json_object_set_new(o, "accepted",
                              v->has_policy ? json_boolean(v->accepted) : json_null());
    (void)json_object_set_new(o, "signature_verifies", json_boolean(v->signature_verifies));
    (void)json_object_set_new(o, "verifies", json_boolean(v->verifies));
    (void)json_object_set_new(o, "tcb_status", text_or_null(attest_tcb_name(v->tcb_status)));
    (void)json_object_set_new(o, "tcb_date", text_or_null(v->tcb_date));
    (void)json_object_set_new(o, "debug", v->parsed ? json_boolean(v->debug) : json_null());
    (void)json_object_set_new(o, "fail_reasons", reasons(v));
    (void)json_object_set_new(o, "failures", failures(v));
    for (uint32_t i = 0; i < v->advisories_n; i++) {
        (void)json_array_append_new(advisories, json_string(v->advisory[i]));
    }
    (void)json_object_set_new(o, "advisories", advisories);
    (void)json_object_set_new(o, "product", text_or_null(v->product));
    (void)json_object_set_new(o, "valid_from",
                              has_window ? json_string(attest_time_format(v->valid_from_s, text))
                                         : json_null());
    (void)json_object_set_new(o, "valid_until",
                              has_window ? json_string(attest_time_format(v->valid_until_s, text))
                                         : json_null());
    add_evidence(v, o);
    out = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return out;
}

static const char *answer(bool b)
{
    return b ? "yes" : "NO";
}

static void write_text(const struct attest_verdict *v, FILE *f)
{
    char from[32], until[32], hex[2 * ATTEST_DIGEST_MAX + 3];
    const char *tcb = attest_tcb_name(v->tcb_status);

    (void)fprintf(f, "%s evidence: %s\n", attest_kind_name(v->kind),
                  !v->accepted    ? "REFUSED"
                  : v->has_policy ? "accepted"
                                  : "verifies; whether it is wanted, only a policy can say");
    if (v->kind == ATTEST_SOFTWARE) {
        (void)fprintf(f, "  SOFTWARE, NOT PROTECTED: no hardware stands behind it\n");
    }
    (void)fprintf(f, "  signatures verify  %s\n  verifies           %s\n",
                  answer(v->signature_verifies), answer(v->verifies));
    if (v->kind != ATTEST_SNP) {
        (void)fprintf(f, "  TCB status         %s\n", tcb == NULL ? "not determined" : tcb);
    }
    if (v->advisories_n > 0) {
        (void)fprintf(f, "  advisories        ");
        for (uint32_t i = 0; i < v->advisories_n; i++) {
            (void)fprintf(f, " %s", v->advisory[i]);
        }
        (void)fprintf(f, "\n");
    }
    if (v->valid_until_s != UINT64_MAX) {
        (void)fprintf(f, "  holds              %s to %s\n",
                      attest_time_format(v->valid_from_s, from),
                      attest_time_format(v->valid_until_s, until));
    }
    if (v->parsed) {
        (void)fprintf(f, "  debug              %s\n", v->debug ? "YES: protects nothing" : "no");
        for (uint32_t i = 0; i < v->fields_n; i++) {
            (void)fprintf(f, "  %-18s %s\n", v->field[i].name,
                          attest_hex(v->field[i].value, hex, sizeof(hex)));
        }
        (void)fprintf(f, "  %-18s %s\n", "report_data",
                      attest_hex(v->report_data, hex, sizeof(hex)));
    }
    for (uint32_t i = 0; i < v->failures_n; i++) {
        const struct attest_failure *x = &v->failure[i];

        (void)fprintf(f, "failed: %s (%s): found %s; wanted %s\n", attest_rule_name(x->rule),
                      attest_rule_asks(x->rule), x->found, x->wanted);
    }
}

static char *as_text(const struct attest_verdict *v)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (f == NULL) {
        return NULL;
    }
    write_text(v, f);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char *attest_explain_verdict(const struct attest_verdict *v, enum attest_form form)
{
    return form == ATTEST_FORM_JSON ? as_json(v) : as_text(v);
}
