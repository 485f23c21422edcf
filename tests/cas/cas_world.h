// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_CAS_CAS_WORLD_H
#define TESTS_CAS_CAS_WORLD_H

/* A CAS over a real store in a folder of its own, a software deployment, and processes that ask. */

#include "trusted/cas/cas.h"
#include "trusted/evidence/software.h"
#include "trusted/las/las_token.h"

enum { WORLD_NODES = 3 };
static const uint64_t WORLD_NOW_S = 1790000000;

struct cas_world {
    char dir[64], path[96], anchor[96];
    struct secret key;
    struct cas_store *store;
    struct cas *cas;
    struct software_files files;
    struct software_platform *platform;
    uint64_t now_s;
    const char *query; /* of the next requests; NULL: none */
    json_t *answer;
    unsigned status;
    EVP_PKEY *owner;
    X509 *owner_cert;
};

/* Somebody with a TLS key. */
struct process {
    EVP_PKEY *key;
    X509 *cert; /* what it shows */
    uint8_t key_hash[EVIDENCE_KEY_HASH_LEN];
};

void world_start(struct cas_world *w);
void world_end(struct cas_world *w);
/* The CAS ends as if killed, and starts again on what is on disk. */
void world_restart(struct cas_world *w);
/* YAML of a policy of this version; `rules` stands in the software section of replicas;
 * client audit may read log/% and, after version 1, write it. */
char *world_policy(const struct cas_world *w, unsigned version, const char *rules);

struct process process_new(void);
void process_end(struct process *p);
/* The body of the program that the policy wants; report data over `binding`. */
struct software_body world_body(const struct process *p, const uint8_t *nonce);
void world_nonce(struct cas_world *w, const struct process *p, uint8_t ret[static 32]);
/* Both: `prover`'s evidence over a nonce that `asker` was given. */
struct software_body world_challenged(struct cas_world *w, const struct process *asker,
                                      const struct process *prover);

/* Asks, and keeps the answer in w->answer; takes `body` over. */
void world_ask(struct cas_world *w, const struct process *p, const char *method, const char *path,
               json_t *body);
/* A join of this node with evidence of this body. */
void world_join(struct cas_world *w, const struct process *p, uint32_t node,
                const struct software_body *body);
json_t *world_evidence(const struct cas_world *w, const struct software_body *body);
/* The error's code in the last answer, or "OK"; and its message. */
const char *world_code(const struct cas_world *w);
const char *world_message(const struct cas_world *w);
/* Fails unless the last answer had this code and this part of a message. */
void world_expect(const struct cas_world *w, const char *code, const char *part);
/* The owner brings a policy, as world_policy makes it. */
void world_ask_policy(struct cas_world *w, unsigned version, const char *rules);
/* The certificate in the last answer instead of the one that the process made itself. */
void process_use_certificate(struct process *p, const struct cas_world *w);
/* {"key": its public key}, with "name" unless that is NULL. */
json_t *process_key_json(const struct process *p, const char *name);

/* Joins as it should be; the answer stays in the world. */
struct process world_join_well(struct cas_world *w, uint32_t node);

#endif
