// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ACCESS_ACCESS_H
#define TRUSTED_ACCESS_ACCESS_H

/*
 * What a client may do: rules of rights and a prefix of keys. They stand in its certificate, so
 * that a replica can check them without asking anybody. Pure. docs/protocol/access.md, ACL-n.
 *
 *   rule     rights ":" prefix              read,scan:orders/
 *   rights   of read, write, scan, status in this order, joined by ","
 *   prefix   bytes; all but A-Z a-z 0-9 . _ ~ - / as %XX, upper case; none: every key
 */

#include "common/bytes.h"
#include "common/result.h"

enum access_right {
    ACCESS_READ = 1 << 0,   /* learn the value of a key, or that there is none */
    ACCESS_WRITE = 1 << 1,  /* put and delete; with READ every read-modify-write */
    ACCESS_SCAN = 1 << 2,   /* list keys; with READ their values, too */
    ACCESS_STATUS = 1 << 3, /* ask a node for its state; of a rule with any prefix */
};

enum {
    ACCESS_RIGHTS = ACCESS_READ | ACCESS_WRITE | ACCESS_SCAN | ACCESS_STATUS,
    ACCESS_RULES_MAX = 8,
    ACCESS_PREFIXES_MAX = 200, /* bytes of all prefixes together */
    ACCESS_RIGHTS_TEXT = 32,   /* room for the names of all rights */
    ACCESS_RULE_TEXT = ACCESS_RIGHTS_TEXT + 3 * ACCESS_PREFIXES_MAX,
};

struct access_rule {
    uint8_t rights;
    uint8_t prefix_n;
};

/* Without a rule: everything. Zero is such a one. */
struct access {
    uint8_t rules_n;
    struct access_rule rule[ACCESS_RULES_MAX];
    uint8_t prefix[ACCESS_PREFIXES_MAX]; /* one behind the other */
};

/* Adds a rule in its one spelling. MALFORMED: another spelling; TOO_BIG: more than the bounds
 * above. On failure *a is unchanged. */
RESULT access_add(struct access *a, const char *text);
/* Writes rule i (below rules_n) with its final zero; returns the length. */
size_t access_format(const struct access *a, unsigned i, char to[static ACCESS_RULE_TEXT]);
/* "read,write"; empty for none. */
void access_rights_format(unsigned rights, char to[static ACCESS_RIGHTS_TEXT]);

/* Those of `rights` that *a does not give for a key, for every key in [low, high) (an empty high is
 * above all keys), or at all. 0: it may. */
unsigned access_lacks_key(const struct access *a, unsigned rights, struct bytes key);
unsigned access_lacks_range(const struct access *a, unsigned rights, struct bytes low,
                            struct bytes high);
unsigned access_lacks(const struct access *a, unsigned rights);

#endif
