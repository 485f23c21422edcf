// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_RESULT_H
#define COMMON_RESULT_H

/*
 * How functions fail. One list (errors.def) makes the enum, the text and the metric name, so that
 * none can be forgotten. Our own mistakes are CHECK(), never an enum err.
 */

enum err {
    OK = 0,
#define ERR(name, class_, text) ERR_##name,
#include "common/errors.def"
#undef ERR
    ERR_N
};

enum err_class {
    ERR_CLASS_NONE,
    ERR_CLASS_HOSTILE,  /* somebody else is wrong: counted, never answered */
    ERR_CLASS_RESOURCE, /* a limit is reached: the caller may try again later */
    ERR_CLASS_NORMAL,   /* nobody is wrong */
};

/* The only way to declare a function that can fail: the compiler then refuses an ignored result. */
#define RESULT __attribute__((warn_unused_result)) enum err

/* Returns early on failure. Only where nothing is owned; elsewhere one `out:` label. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (expr);                                                                \
        if (try_err_ != OK) {                                                                      \
            return try_err_;                                                                       \
        }                                                                                          \
    } while (0)

/* A sentence fragment in plain English, e.g. "authentication failed". Never NULL. */
const char *err_text(enum err err);
/* The stable upper-case name, e.g. "AUTH"; "OK" for OK. Never NULL. */
const char *err_name(enum err err);
enum err_class err_class(enum err err);

#endif
