// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_RENEWAL_H
#define DAEMONS_RENEWAL_H

/*
 * What a replica that joined through the CAS keeps asking it, in a thread of its own: its
 * certificate is renewed at half of its life and whenever the CAs that are trusted change, the
 * names of revoked clients and newer configurations are fetched, the CAS is told how far we are,
 * and the highest state version that we have seen, so that it notices when it was rolled back.
 * Nobody waits for any of it. CAS-23, CAS-36, CAS-39, CAS-41, CAS-51
 */

#include "daemons/join.h"
#include "trusted/control/control.h"

struct renewal;

/* How far this member is, MEM-4 and MEM-7. */
struct renewal_standing {
    uint64_t installed; /* all shards work under this epoch */
    uint64_t copied;    /* groups (bits) that are copied in it */
};

/* Heap: the certificates of the CAs, and the configuration as the CAS signs it now. */
struct renewal_trust {
    char *ca_pem, *config;
    uint8_t *sig;
    size_t sig_n;
};
void renewal_trust_free(struct renewal_trust *t);

/* What is new since the last time; the taker's. */
struct renewal_news {
    struct identity *identity;  /* NULL: none */
    struct renewal_trust trust; /* with an identity */
    bool has_revoked;           /* the whole list follows */
    struct control_revoked revoked;
    struct cluster_signed config; /* text.n == 0: none; the taker's */
};

/* Takes over what the joining left in *from, except its identity and configuration, which the
 * caller keeps. `via`: NULL, or how its requests travel; then the CAS's host becomes a literal. IO
 */
RESULT renewal_start(struct join *from, const struct https_via *via, struct renewal **ret,
                     struct explain *why);
/* Readable when there is news. */
int renewal_fd(const struct renewal *k);
/* By the thread that owns the control machine. */
void renewal_take(struct renewal *k, struct renewal_news *ret);
/* To be told to the CAS, now and until it has heard it. */
void renewal_report(struct renewal *k, const struct renewal_standing *now);
/* Waits for a request under way: two seconds at most. NULL is allowed. */
void renewal_stop(struct renewal *k);

#endif
