// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

/*
 * Command lines from a table: one entry per long option says how its value reads, where it goes and
 * what the help says. getopt_long does the splitting; conversions and ranges are ours, so that
 * every refusal names the option, what was given and what would be accepted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OPTIONS_MAX = 40 }; /* of one command line */

enum option_kind {
    OPTION_FLAG,   /* bool: no value */
    OPTION_TEXT,   /* const char * */
    OPTION_NUMBER, /* uint64_t within [min, max] */
    OPTION_BYTES,  /* uint64_t: a number, with k, M or G for powers of 1024 */
    OPTION_MS,     /* uint64_t milliseconds: "5", "5s", "0.5" or "500ms" */
    OPTION_REAL,   /* double within [min, max] */
};

struct option_spec {
    const char *name; /* without the dashes; NULL ends the table */
    const char *value_name;
    const char *help;
    enum option_kind kind;
    void *to;
    uint64_t min, max;
    bool *ret_given; /* may be NULL */
};

struct option_error {
    char text[256];
};

/*
 * Reads argv[1..]. `stop_at_first`: the first word that is no option ends the options. On success
 * *ret_rest is the index in argv of the first operand (operands are moved to the end, a lone "--"
 * is taken away). False: *why is one line.
 */
bool options_parse(int argc, char **argv, const struct option_spec *specs, bool stop_at_first,
                   int *ret_rest, struct option_error *why);
/* One line for each option, to standard output. */
void options_print(const struct option_spec *specs);

/* The conversions alone. False: not of that form, or out of range. */
bool options_number(const char *text, uint64_t *ret);
bool options_bytes(const char *text, uint64_t *ret);
bool options_ms(const char *text, uint64_t *ret);
bool options_real(const char *text, double *ret);

#endif
