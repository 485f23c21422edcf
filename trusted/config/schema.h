// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONFIG_SCHEMA_H
#define TRUSTED_CONFIG_SCHEMA_H

/*
 * Small YAML files with a fixed schema: libcyaml fits the text to it (keys, their presence, their
 * kind), and every value comes as text and is judged here, because a refusal has to say what was
 * found and what is permitted, and because "010" is ten to people and eight to C. Whatever is wrong
 * is one line in *why that names the line of the file. CFG-2, CFG-3, CLI-13.
 */

#include "trusted/config/yaml_scan.h"

#include <cyaml/cyaml.h>

struct schema {
    const char *manual; /* where the schema is described */
    struct explain *why;
    struct yaml_scan scan; /* filled by schema_load */
    uint32_t nth;          /* of several mappings in a list, the one being judged: 0, 1, ... */
};

/* MALFORMED. On success *ret is what libcyaml made; schema_free gives it back. */
RESULT schema_load(struct schema *s, const char *text, size_t n, const cyaml_schema_value_t *kind,
                   void **ret);
void schema_free(const cyaml_schema_value_t *kind, void *raw);

/* MALFORMED, always: key, what was found, what is permitted. */
RESULT schema_refuse(const struct schema *s, const char *key, const char *found,
                     const char *permitted);

struct schema_number {
    const char *key, *text; /* text NULL: optional and absent, *ret stays */
    uint64_t min, max;
    bool is_size; /* may end in KiB, MiB or GiB */
};

/* MALFORMED. *ret is touched only on success. */
RESULT schema_get_number(const struct schema *s, const struct schema_number *n, uint64_t *ret);
RESULT schema_get_u32(const struct schema *s, const struct schema_number *n, uint32_t *ret);
/* The values of the keys `cluster` and `name`. MALFORMED. */
RESULT schema_get_id(const struct schema *s, const char *text, uint8_t ret[CLUSTER_ID_LEN]);
RESULT schema_get_name(const struct schema *s, const char *text, char ret[NAME_MAX_LEN + 1]);

#endif
