// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_CLIENT_LOOPBACK_INTERNAL_H
#define TESTS_CLIENT_LOOPBACK_INTERNAL_H

/* What loopback.c (files, start, stop) and loopback_node.c (what a node does) share. */

#include "common/check.h"
#include "tests/client/loopback.h"
#include "trusted/control/control.h"
#include "trusted/pki/pki.h"

#include <pthread.h>
#include <stdatomic.h>

enum { STREAMS = 16, VALUES = 4096, REGION = 64 << 20, DAYS = 30 };

struct stream {
    int fd; /* -1: free */
    uint32_t id;
};

struct shard {
    int udp;
    void *region;
    struct heap *heap;
    struct aead *aead;
    struct rpc *rpc;
};

struct node {
    struct loopback *l;
    uint32_t place;
    struct identity *identity;
    struct control *control;
    int listener;
    struct stream streams[STREAMS];
    struct shard shards[LOOPBACK_SHARDS];
    bool up;
    atomic_bool want_up, is_up;
};

struct value {
    uint8_t key[KEY_MAX];
    size_t key_len, value_len;
    uint8_t *value;
    uint64_t ts;
    bool present;
};

struct loopback {
    char folder[64];
    char path[256];
    struct cluster cluster;
    struct pki_pair ca;
    char *config; /* heap: what nodes tell, and its signature */
    uint8_t sig[80];
    size_t sig_n;
    struct node nodes[LOOPBACK_NODES];
    struct value *values;
    uint32_t values_n;
    uint64_t ts;
    pthread_t thread;
    atomic_bool stop;
};

/* -1 when the port is taken. 0: any port. */
int loopback_bind(int type, uint16_t port, uint16_t *ret_port);
/* The thread of all nodes, until l->stop. */
void *loopback_run(void *arg);
/* Closes everything that a running node holds. */
void loopback_stop(struct node *n);

#endif
