// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_CONTROL_FIXTURE_H
#define TESTS_CONTROL_FIXTURE_H

/* A cluster of three on paper: CA, configuration and identities, all in memory. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trusted/pki/pki.h"

static const uint64_t NOW_S = 1800000000; /* 2027-01-15 */

static inline struct cluster fixture_cluster(void)
{
    struct cluster c = {
        .id = {0xa1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
        .name = "demo",
        .epoch = 5,
        .replication_factor = 3,
        .shards = 2,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = VALUE_MAX_DEFAULT,
        .enclave_memory = ENCLAVE_MEMORY_DEFAULT,
        .host_memory = HOST_MEMORY_DEFAULT,
        .members_n = 3,
        .members =
            {
                {1, 11, "127.0.0.1", 7101, 7201},
                {2, 12, "127.0.0.1", 7102, 7301},
                {4, 14, "::1", 7103, 7401},
            },
        .groups_n = 2,
        .groups = {{.voters = 7}, {.voters = 7}},
    };

    return c;
}

static inline struct pki_pair fixture_ca(void)
{
    struct pki_pair ca = {0};
    struct explain why = {0};

    assert_int_equal(pki_make_ca("demo CA", NOW_S, 3650, &ca, &why), OK);
    return ca;
}

static inline struct identity_name fixture_replica(const struct cluster *c, uint32_t place)
{
    struct identity_name n = {
        .role = ROLE_REPLICA,
        .node = c->members[place].node,
        .incarnation = c->members[place].incarnation,
        .epoch = c->epoch,
    };

    memcpy(n.cluster, c->id, sizeof(n.cluster));
    return n;
}

static inline struct identity_name fixture_client(const struct cluster *c, const char *name)
{
    struct identity_name n = {.role = ROLE_CLIENT};

    memcpy(n.cluster, c->id, sizeof(n.cluster));
    memcpy(n.client, name, strlen(name) + 1);
    return n;
}

/* An identity issued by `ca` and trusting it. */
static inline struct identity *fixture_identity(const struct pki_pair *ca,
                                                const struct identity_name *name)
{
    struct pki_pair pair = {0};
    struct identity *id = NULL;
    struct explain why = {0};

    assert_int_equal(pki_issue(ca, name, NOW_S, 365, &pair, &why), OK);
    assert_int_equal(identity_from_pem(ca->cert_pem, pair.cert_pem, pair.key_pem, NOW_S, &id, &why),
                     OK);
    pki_pair_free(&pair);
    return id;
}

/* True iff the one line in `why` is one line and says `what`. */
static inline void assert_says(const struct explain *why, const char *what)
{
    if (strstr(why->text, what) == NULL) {
        fail_msg("'%s' does not say '%s'", why->text, what);
    }
    assert_null(strchr(why->text, '\n'));
}

#endif
