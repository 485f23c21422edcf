// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CMD_DATA_H
#define TOOLS_CMD_DATA_H

/* What the commands on single keys share. */

#include "tools/cli.h"

/* A key or value as bytes; `owned` is what to free. */
struct text {
    const void *p;
    size_t n;
    void *owned;
};

void text_release(struct text *t);
/* False: *ret_exit is what to return, the error was reported. */
bool text_key(const struct cli *c, const char *word, bool is_hex, struct text *ret, int *ret_exit);
/* From the file `path`, or standard input when it is "-". */
bool text_value(const struct cli *c, const char *path, struct text *ret, int *ret_exit);
/* The end of a command, as one line or JSON; `value` may be NULL. Returns the exit code. */
int text_report(const struct cli *c, enum avo_status status, const struct text *key,
                const struct text *value, const char *why);
/* The value, byte for byte, or JSON. */
int text_print(const struct cli *c, const struct text *key, const struct text *value);

#endif
