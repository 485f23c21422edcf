// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_SUPERVISOR_H
#define TOOLS_SUPERVISOR_H

/*
 * `avocado supervise`: keeps the processes of a cluster on this machine running. It starts CAS, LAS
 * and members, tells the CAS which members have ended, hands out the configurations that the CAS
 * signs, and carries the owner's orders to it. It decides nothing: which configuration may follow
 * which is the CAS's matter, and it has no key but the owner's (MEM-12). When it ends, the cluster
 * serves on, and the next one takes the processes over.
 *
 *   supervisor.c        the loop; members: start, reap, dismiss
 *   supervisor_cas.c    what the CAS says and is told; the files that follow from it
 *   supervisor_service.c  the processes of CAS and LAS, and the measurements in the policy
 *   supervisor_link.c   control connections with the members: hand out, ask
 *   supervisor_renew.c  members that lost keys to their host become new ones
 *   supervisor_ask.c    the owner's questions and orders, through run/supervisor.sock
 */

#include "tools/cas_link.h"
#include "tools/cluster_dir.h"
#include "tools/node_report.h"
#include "tools/node_words.h"
#include "trusted/control/dialer.h"

#include <jansson.h>

struct supervisor_link {
    int fd; /* -1: none */
    struct dialer *dialer;
    bool connecting, asked;
    uint64_t retry_at_ms, ask_at_ms;
    uint64_t told; /* the epoch that was sent last */
    uint8_t out[4096];
    size_t out_n, out_at;
};

/* A member and its process, from its start until both are gone. */
struct supervised {
    uint32_t node, incarnation;
    struct node_process process;
    struct supervisor_link link;
    struct node_report report; /* the last; is_up false: none yet */
    uint64_t heard_at_ms;      /* when it came */
    uint64_t started_at_ms;
    uint64_t renewed_at_ms; /* it was told to end, to be made anew; 0: was not */
    bool refused;           /* to be made anew, and that was said */
    uint64_t gone_at_ms;    /* no member any more: ended by force then */
    bool is_told;           /* the CAS knows that it has ended */
};

enum { SUPERVISED_MAX = 2 * CLUSTER_MAX };

struct supervisor_service {
    uint32_t number; /* NODE_CAS, NODE_LAS */
    struct node_process process;
    char program[PATH_MAX];
    uint64_t started_at_ms, start_at_ms;
    uint32_t ended_at_once; /* in a row */
};

struct supervisor_cas {
    struct cas_link link;
    bool is_open; /* link */
    bool is_up;   /* it answered last time */
    struct explain why;
    uint64_t ask_at_ms;
    json_t *standing;             /* what it said last; NULL: nothing yet */
    struct cluster cluster;       /* what it hands out; epoch 0: nothing yet */
    struct cluster_signed config; /* the same */
};

struct supervisor {
    struct cluster_dir folder;
    struct supervisor_service services[2]; /* CAS, LAS */
    struct supervisor_cas cas;
    struct identity *owner; /* for control connections; NULL: not yet */
    struct node_wishes wishes;
    char program[PATH_MAX], hostd[PATH_MAX];
    bool is_new;   /* the policy is of this start */
    bool founds;   /* the CAS's state is still to be made */
    bool restarts; /* members that end are started again */
    bool adopted;  /* members that ran before us */
    int signals, socket;
    uint8_t boot[BOOT_ID_LEN];
    uint64_t began_at_ms;
    uint64_t pause_until_ms; /* members that end at once are not started again at once */
    uint32_t ended_at_once;  /* in a row */
    uint64_t renew_after_ms; /* no member is made anew before */
    uint64_t spare_at_ms;    /* the CAS is not asked before whether one may be */
    uint32_t renewals;       /* in a row */
    uint32_t n;
    struct supervised members[SUPERVISED_MAX];
    uint64_t now_ms;
};

/* Opens, feeds and closes the connection with a member. `ready`: poll said so. */
void supervisor_link_step(struct supervisor *s, struct supervised *m, bool ready, bool urgent);
void supervisor_link_close(struct supervised *m);
/* What poll has to wait for. */
short supervisor_link_events(const struct supervised *m);

/* Answers whoever connected to the socket. */
void supervisor_answer(struct supervisor *s);

/* Finds the programs, takes over processes that run. */
RESULT supervisor_service_open(struct supervisor *s, struct explain *why);
/* Notes that one has ended, and starts it (again). */
void supervisor_service_step(struct supervisor *s);
/* The policy names the programs as they are now, and the CAS has it. */
void supervisor_service_measure(struct supervisor *s);

/* Asks the CAS where the cluster stands, when it is time. */
void supervisor_cas_step(struct supervisor *s);
/* An order (CAS-52), taken over; what it says then is taken note of. *ret may be NULL. */
RESULT supervisor_cas_order(struct supervisor *s, json_t *order, json_t **ret, struct explain *why);
/* Any other request of the owner. */
RESULT supervisor_cas_call(struct supervisor *s, const char *path, json_t *body, json_t **ret,
                           struct explain *why);
void supervisor_cas_close(struct supervisor *s);
/* Nothing changes, as far as the CAS has said. */
bool supervisor_cas_is_quiet(const struct supervisor *s);

/* The place of a member in the configuration that is handed out; -1: none. */
int supervisor_place(const struct supervisor *s, const struct supervised *m);
/* Goes on from what the CAS said last. */
void supervisor_progress(struct supervisor *s);
/* Tells the CAS which members have ended; `all`: also those that are not to be started again. */
void supervisor_tell_lost(struct supervisor *s, bool all);
/* MEM-13: at most one member that has lost keys to its host is ended, to come back as a new one
 * that copies from the others; seldom, and never when the others would not suffice. */
void supervisor_renew(struct supervisor *s);
/* Makes sure that no lost member's process runs (MEM-11). */
void supervisor_kill_lost(struct supervisor *s);

#endif
