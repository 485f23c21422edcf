// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONFIG_YAML_SCAN_H
#define TRUSTED_CONFIG_YAML_SCAN_H

/*
 * A first look at a YAML text, before libcyaml fits it to a schema: refuses what a configuration
 * never needs (several documents, anchors, aliases, tags, deep nesting, NUL bytes) and notes the
 * line of every key, so that later complaints can name it. CFG-2.
 */

#include "trusted/config/cluster.h"

enum {
    YAML_KEYS_MAX = 256,
    YAML_KEY_LEN = 31,
    YAML_DEPTH_MAX = 4,
};

struct yaml_scan {
    uint32_t keys_n;
    struct {
        char name[YAML_KEY_LEN + 1]; /* cut off */
        uint32_t line;               /* from 1 */
    } keys[YAML_KEYS_MAX];
};

/* MALFORMED; *why says what and where. */
RESULT yaml_scan(const char *text, size_t n, struct yaml_scan *ret, struct explain *why);
/* The line of the nth (from 0) mention of a key; 0 when there is none. */
uint32_t yaml_scan_line(const struct yaml_scan *s, const char *key, uint32_t nth);

#endif
