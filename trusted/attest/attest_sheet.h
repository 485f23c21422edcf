// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_SHEET_H
#define TRUSTED_ATTEST_ATTEST_SHEET_H

/* A list of named values that can be read as text or as JSON: filled once, written either way. */

#include "trusted/attest/attest_explain.h"
#include "trusted/attest/attest_internal.h"

#include <jansson.h>

#include <stdio.h>

struct attest_sheet {
    FILE *text; /* NULL: JSON */
    char *buffer;
    size_t buffer_n;
    json_t *root, *section;
    bool failed;
};

RESULT attest_sheet_open(enum attest_form form, struct attest_sheet *ret);
/* Gives what was written; NULL if anything failed. Closes in any case. */
char *attest_sheet_close(struct attest_sheet *s);

/* Starts a section; `key` in JSON, `title` in text. */
void attest_sheet_section(struct attest_sheet *s, const char *key, const char *title);
/* `note` is for people; "" for none. */
void attest_sheet_text(struct attest_sheet *s, const char *key, const char *value,
                       const char *note);
void attest_sheet_hex(struct attest_sheet *s, const char *key, struct bytes value,
                      const char *note);
void attest_sheet_number(struct attest_sheet *s, const char *key, uint64_t value, const char *note);
void attest_sheet_flag(struct attest_sheet *s, const char *key, bool value, const char *note);

#endif
