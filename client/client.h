// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

/*
 * Inside of struct avo_client: one core, one UDP socket, one control connection a node, and the
 * loop that moves bytes between them. Only client/ includes this.
 */

#include "client/avocado.h"
#include "client/core.h"
#include "client/link.h"
#include "client/net.h"
#include "client/profile.h"
#include "host/run/courtesy.h"

/* data.u32 of epoll's events; below CLUSTER_MAX: the link of that place. */
enum {
    CLIENT_EVENT_NET = CLUSTER_MAX,
    CLIENT_EVENT_TIMER,
    CLIENT_EVENTS_MAX,
};

/* What changes even in calls that promise not to change the client. */
struct client_watch {
    bool external; /* avo_fd was asked for: its timer must be kept */
};

/* The files of our identity, as they were when they were read. */
struct client_file {
    uint64_t inode, bytes, changed_ns;
};
struct client_stamp {
    struct client_file at[3];
};

struct avo_client {
    struct profile profile;
    struct avo_options options; /* with defaults filled in */
    struct identity *identity;
    struct client_stamp stamp; /* of its files */
    uint64_t look_at_ns;       /* when they are looked at again */
    uint32_t moving; /* place whose connection goes over to a newer identity; CLUSTER_MAX: none */
    uint64_t move_by_ns; /* patience ends */
    struct aead *aead;
    struct heap *heap; /* within region */
    void *region;      /* the core's memory */
    size_t region_bytes;
    struct core *core;       /* NULL until the first WELCOME */
    uint32_t datagram_bytes; /* what the core sends */
    uint64_t epoch;          /* of the newest WELCOME */
    uint64_t map_epoch;      /* of the configuration that the core goes by; 0: none yet */
    struct net *net;
    struct link_env env;
    struct link links[CLUSTER_MAX];
    int epoll, timer;
    struct courtesy courtesy;  /* of client_wait() */
    uint64_t timer_at_ns;      /* when the timer is set to ring; UINT64_MAX: it is not */
    uint64_t links_at_ns;      /* when links were last looked at */
    uint64_t clogged_at_ns;    /* when the kernel took no more datagrams; 0: it does */
    uint32_t unsent;           /* submitted since the last transmission */
    struct client_call *calls; /* batches under way (calls.h) */
    uint32_t calls_n;
    struct client_watch *watch;
    char last_error[640];
};

/* Monotonic time. */
uint64_t client_now_ns(void);

/* Takes the configuration that the node of a link has sent, if it is signed and newer than ours.
 * Places of nodes that stay do not change; a place without a node has number 0. */
void client_take_config(struct avo_client *c, struct link *l, uint64_t now_ns);

/* Moves everything that can move now. */
void client_serve(struct avo_client *c, uint64_t now_ns);
/* Sleeps until something came, something is due, or `until_ns`. */
void client_wait(struct avo_client *c, uint64_t now_ns, uint64_t until_ns);
/* Seals and sends what the core has. */
void client_transmit(struct avo_client *c, uint64_t now_ns);
/* When client_serve is due; UINT64_MAX: never. */
uint64_t client_deadline(const struct avo_client *c);
/* core_submit, with the reason of a failure in last_error. */
enum avo_status client_submit(struct avo_client *c, const struct core_request *q);
/* Returns `status`; `what` is the reason. */
enum avo_status client_refuse(struct avo_client *c, enum avo_status status, const char *what);
/* The same, for a key or a value beyond the limits. */
enum avo_status client_refuse_big(struct avo_client *c);
/* last_error says which rights (access.h) our certificate lacks for `op`. */
void client_refuse_lacking(struct avo_client *c, const char *op, unsigned lacks);
/* Reads the identity's files; on failure the one before stays. As identity_from_files. */
enum err client_load_identity(struct avo_client *c, struct explain *why);
/* The same if one of them has changed. Before each attempt to connect. */
void client_refresh_identity(struct avo_client *c);
/* While connections stand: looks for a newer identity now and then, and moves them over one by one.
 */
void client_rotate(struct avo_client *c, uint64_t now_ns);
/* When that is due. */
uint64_t client_rotate_at(const struct avo_client *c);
/* A blocking call is not possible; last_error says so. */
bool client_is_busy(struct avo_client *c);
/* Sets the timer behind avo_fd, if anybody looks at it. */
void client_arm(struct avo_client *c, uint64_t now_ns);

#endif
