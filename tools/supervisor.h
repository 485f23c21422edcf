// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_SUPERVISOR_H
#define TOOLS_SUPERVISOR_H

/*
 * `avocado supervise`: keeps a cluster on this machine at the number of members that is wanted. It
 * holds the configuration register and the CA's key, notices members that end, hands out the next
 * configuration, and starts new members with identities of their own. Members do without it
 * (MEM-12): when it ends, the store serves on, and the next one takes the members over.
 *
 *   supervisor.c        the loop: processes, the register, what follows from it
 *   supervisor_link.c   control connections with the members: hand out, ask
 *   supervisor_renew.c  members that lost keys to their host become new ones
 *   supervisor_ask.c    the owner's questions and orders, through run/supervisor.sock
 */

#include "tools/keeper.h"
#include "tools/node_process.h"
#include "tools/node_report.h"
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
};

enum { SUPERVISED_MAX = 2 * NODES_MAX };

struct supervisor {
    struct cluster_dir folder;
    struct keeper keeper;
    struct pki_pair ca;
    struct identity *owner;
    const char *poll, *arena_dir, *memory; /* for avocadod */
    char program[PATH_MAX], hostd[PATH_MAX];
    bool is_split; /* members are started behind an avocado-hostd */
    bool is_dpdk;  /* they have links by shared memory among each other */
    bool restarts; /* members that end are started again */
    bool failed;   /* the folder cannot be written: nothing changes any more */
    int signals, socket;
    uint8_t boot[BOOT_ID_LEN];
    uint64_t pause_until_ms; /* members that end at once are not started again at once */
    uint32_t ended_at_once;  /* in a row */
    uint64_t renew_after_ms; /* no member is made anew before */
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

/* The place of a member in the configuration that is handed out; -1: none. */
int supervisor_place(const struct supervisor *s, const struct supervised *m);
/* Goes on from what the register says now. */
void supervisor_progress(struct supervisor *s);
/* MEM-13: at most one member that has lost keys to its host is ended, to come back as a new one
 * that copies from the others; seldom, and never when the others would not suffice. */
void supervisor_renew(struct supervisor *s);
/* Makes sure that no lost voter's process runs (MEM-11). */
void supervisor_kill_lost(struct supervisor *s);

#endif
