// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONFIG_CLUSTER_H
#define TRUSTED_CONFIG_CLUSTER_H

/*
 * The signed configuration of a cluster: who is a member, under which incarnation, in which epoch.
 * A YAML file with a fixed schema (libcyaml; unknown keys are errors) and, beside it, a detached
 * signature by the cluster's CA key (ECDSA P-256, SHA-256, DER, in `FILE.sig`). Ordinary code with
 * heap and files: start-up only, not the data path. docs/protocol/config.md, clauses CFG-n.
 */

#include "common/bytes.h"
#include "common/limits.h"
#include "common/result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CLUSTER_ID_LEN = 16,
    CA_CERTS_MAX = 2, /* that are trusted at a time: two while one follows the other */
    NAME_MAX_LEN = 63,
    HOST_MAX_LEN = 63, /* an IPv4 or IPv6 address literal */
};

struct cluster_member {
    uint32_t node;        /* 1.. and unique */
    uint32_t incarnation; /* unique for ever within the cluster, never 0 */
    char address[HOST_MAX_LEN + 1];
    uint16_t control_port; /* TCP */
    uint16_t data_port;    /* UDP port of shard 0; shard s is data_port + s */
};

/* Who holds the keys of a group of slots (common/slots.h): sets of places among the members. */
struct cluster_group {
    uint32_t voters;
    uint32_t learners; /* get every write, vote on none: still copying */
    bool settle;       /* voters copy from a majority too, MEM-5 */
};

struct cluster {
    uint8_t id[CLUSTER_ID_LEN];
    char name[NAME_MAX_LEN + 1];
    uint64_t epoch;              /* from 1 */
    uint32_t replication_factor; /* voters of a group that are wanted; while members come and go,
                                    not yet had */
    uint32_t shards;
    uint32_t datagram_bytes;
    uint32_t value_max;
    uint64_t enclave_memory; /* per node */
    uint64_t host_memory;    /* per node */
    uint32_t members_n;
    struct cluster_member members[CLUSTER_MAX]; /* ascending by node */
    uint32_t groups_n;                          /* fixed for the cluster's life */
    struct cluster_group groups[GROUPS_MAX];
};

/* One line that says what, where, why and what to do. */
struct explain {
    char text[512];
};

/* Reads and checks `path` and `path`.sig against the CA certificate at `ca_path`. IO, MALFORMED
 * (not the schema, or a value out of its range), AUTH (signature). On failure *ret is untouched and
 * *why is one line for a person. */
RESULT cluster_load(const char *path, const char *ca_path, struct cluster *ret,
                    struct explain *why);
/* The same, and the bytes that were read, for others to check. cluster_signed_free. */
struct cluster_signed {
    struct bytes text, sig, ca_pem; /* heap */
};
RESULT cluster_load_signed(const char *path, const char *ca_path, struct cluster *ret,
                           struct cluster_signed *ret_signed, struct explain *why);
void cluster_signed_free(struct cluster_signed *s);
/* Parses without a signature; for the owner's tools and for tests. */
RESULT cluster_parse(const char *yaml, size_t n, struct cluster *ret, struct explain *why);
/* The canonical text of a configuration; what is signed. Heap string, the caller frees. NULL: no
 * memory. */
char *cluster_format(const struct cluster *c);

/* The same of texts in memory, as they come over the control channel: `sig` is the detached
 * signature, `ca_pem` the CA's certificate. */
RESULT cluster_check(struct bytes text, struct bytes sig, struct bytes ca_pem, struct cluster *ret,
                     struct explain *why);

/* An IPv4 or IPv6 literal of one host in its one spelling. MALFORMED */
RESULT cluster_address(const char *text, char ret[static HOST_MAX_LEN + 1]);

/* Places of the members that vote in some group (bit = place). */
static inline uint32_t cluster_voters(const struct cluster *c)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < c->groups_n; i++) {
        set |= c->groups[i].voters;
    }
    return set;
}

/* What a member is, in one word: a voter somewhere, a learner everywhere it is, or a spare that
 * holds nothing. */
static inline const char *cluster_role(const struct cluster *c, uint32_t place)
{
    for (uint32_t i = 0; i < c->groups_n; i++) {
        if ((c->groups[i].voters >> place & 1) == 0 && (c->groups[i].learners >> place & 1) != 0) {
            return (cluster_voters(c) >> place & 1) != 0 ? "voter" : "learner";
        }
    }
    return (cluster_voters(c) >> place & 1) != 0 ? "voter" : "spare";
}

/* Which shard of every node holds a key: SipHash-2-4 under the cluster id, CFG-6. */
uint32_t cluster_shard_of(const uint8_t id[static CLUSTER_ID_LEN], uint32_t shards,
                          const uint8_t *key, size_t key_len);

#endif
