// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_ATTEST_SAMPLES_H
#define TESTS_ATTEST_SAMPLES_H

/* The recorded evidence in tests/attest/data, with what is known about each sample. */

#include "trusted/attest/attest.h"

#include <jansson.h>

enum { SAMPLE_FILES_N = 14, SAMPLES_MAX = 64 };

struct sample_file {
    const char *name; /* in the folder */
    uint8_t *p;       /* heap; NULL: not there */
    size_t n;
};

struct sample {
    char dir[512];
    const char *name; /* the last two parts of dir */
    struct attest_input in;
    struct sample_file file[SAMPLE_FILES_N]; /* [0]: the evidence */
    json_t *expected;
};

/* Where the samples lie: $ATTEST_DATA. */
const char *samples_root(void);
/* All of them, in order of their names. */
size_t samples_list(char names[][96], size_t max);
/* "sgx/automata-debug"; the vendor's roots; now_s is the sample's verify_at. Fails the test when
 * something is unreadable. */
void sample_load(const char *name, struct sample *ret);
void sample_free(struct sample *s);
/* Looks at the file again after it was changed. */
void sample_relink(struct sample *s);
struct sample_file *sample_file(struct sample *s, const char *name);
/* Reads one file into the heap; NULL when there is none. */
uint8_t *sample_read(const char *dir, const char *name, size_t *ret_n);

bool verdict_has(const struct attest_verdict *v, const char *rule);
/* All failures as one line, for messages; static storage. */
const char *verdict_text(const struct attest_verdict *v);

#endif
