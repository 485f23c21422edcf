// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_sheet.h"

#include <inttypes.h>
#include <stdlib.h>

RESULT attest_sheet_open(enum attest_form form, struct attest_sheet *ret)
{
    *ret = (struct attest_sheet){0};
    if (form == ATTEST_FORM_TEXT) {
        ret->text = open_memstream(&ret->buffer, &ret->buffer_n);
    } else {
        ret->root = json_object();
        ret->section = ret->root;
    }
    return ret->text == NULL && ret->root == NULL ? ERR_MALFORMED : OK;
}

char *attest_sheet_close(struct attest_sheet *s)
{
    char *out = NULL;

    if (s->text != NULL) {
        s->failed |= fclose(s->text) != 0;
        out = s->buffer;
    } else {
        out = json_dumps(s->root, JSON_INDENT(2));
        json_decref(s->root);
    }
    if (s->failed) {
        free(out);
        out = NULL;
    }
    *s = (struct attest_sheet){0};
    return out;
}

void attest_sheet_section(struct attest_sheet *s, const char *key, const char *title)
{
    if (s->text != NULL) {
        s->failed |= fprintf(s->text, "\n%s\n", title) < 0;
        return;
    }
    s->section = json_object();
    s->failed |= json_object_set_new(s->root, key, s->section) != 0;
}

static void set(struct attest_sheet *s, const char *key, json_t *value)
{
    s->failed |= json_object_set_new(s->section, key, value) != 0;
}

static void line(struct attest_sheet *s, const char *key, const char *value, const char *note)
{
    s->failed |=
        fprintf(s->text, "  %-18s %s%s%s\n", key, value, *note == '\0' ? "" : "   # ", note) < 0;
}

void attest_sheet_text(struct attest_sheet *s, const char *key, const char *value, const char *note)
{
    if (s->text != NULL) {
        line(s, key, value, note);
    } else {
        set(s, key, json_string(value));
    }
}

void attest_sheet_hex(struct attest_sheet *s, const char *key, struct bytes value, const char *note)
{
    char hex[2 * ATTEST_DIGEST_MAX + 3];

    attest_sheet_text(s, key, attest_hex(value, hex, sizeof(hex)), note);
}

void attest_sheet_number(struct attest_sheet *s, const char *key, uint64_t value, const char *note)
{
    char text[24];

    if (s->text != NULL) {
        (void)snprintf(text, sizeof(text), "%" PRIu64, value);
        line(s, key, text, note);
    } else if (value > INT64_MAX) {
        s->failed = true;
    } else {
        set(s, key, json_integer((json_int_t)value));
    }
}

void attest_sheet_flag(struct attest_sheet *s, const char *key, bool value, const char *note)
{
    if (s->text != NULL) {
        line(s, key, value ? "yes" : "no", note);
    } else {
        set(s, key, json_boolean(value));
    }
}
