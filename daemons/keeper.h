// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_KEEPER_H
#define DAEMONS_KEEPER_H

/*
 * What a replica that joined through the CAS keeps asking it, in a thread of its own: its
 * certificate is renewed at half of its life, the names of revoked clients are fetched, and the CAS
 * is told the highest state version that we have seen, so that it notices when it was rolled back.
 * Nobody waits for any of it. CAS-23, CAS-36, CAS-39
 */

#include "daemons/join.h"
#include "trusted/control/control.h"

struct keeper;

enum { KEEPER_PERIOD_S = 30 }; /* between two looks; less for certificates of a short life */

/* What is new since the last time. */
struct keeper_news {
    struct identity *identity; /* NULL: none; the taker's */
    bool has_revoked;          /* the whole list follows */
    struct control_revoked revoked;
};

/* Takes over what the joining left in *from, except its identity and configuration. IO */
RESULT keeper_start(struct join *from, struct keeper **ret, struct explain *why);
/* Readable when there is news. */
int keeper_fd(const struct keeper *k);
/* By the thread that owns the control machine. */
void keeper_take(struct keeper *k, struct keeper_news *ret);
/* Waits for a request under way: two seconds at most. NULL is allowed. */
void keeper_stop(struct keeper *k);

#endif
