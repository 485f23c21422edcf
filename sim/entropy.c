// SPDX-License-Identifier: Apache-2.0
#include "sim/entropy.h"

#include "common/check.h"
#include "trusted/abd/abd.h"
#include "trusted/store/store.h"

#include <stdio.h>

enum { VERSIONS = 3, OLD_WRITER = 900 };

static const char *const diverged_key = "diverged";

static struct bytes text(const char *s)
{
    return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

/* Where memory is short, some may be unable to hold what they should. */
static bool applies(const struct run *r)
{
    return r->swarm.sync_ns != 0 && !r->swarm.tight;
}

/* ---- what stands there from the start ---- */

/* Where the key belongs, at that node; NULL: elsewhere. */
static struct store *store_for(struct run *r, uint8_t node, struct bytes key)
{
    return r->ops->store(r, node, run_group_of(r, key));
}

static void put(struct run *r, uint8_t node, const char *key, uint32_t version, const char *value)
{
    struct tag tag = {.ts = version, .writer = OLD_WRITER};
    struct store *store = store_for(r, node, text(key));
    bool applied;

    CHECK(store == NULL ||
          store_apply(store, text(key), tag, value == NULL,
                      value == NULL ? (struct bytes){0} : text(value), &applied) == OK);
}

/* A version is the same wherever it stands: its value, or a deletion, follows from its number. */
static void sow_key(struct run *r, struct prng *p, uint32_t i)
{
    char key[16], value[64];

    (void)snprintf(key, sizeof(key), "old%04u", i);
    for (uint8_t node = 0; node < r->swarm.nodes_n; node++) {
        uint32_t version = (uint32_t)prng_below(p, VERSIONS + 1);

        (void)snprintf(value, sizeof(value), "version %u of %*u", version, 1 + (int)(i % 40), i);
        if (version != 0) {
            put(r, node, key, version, (i + version) % 5 == 0 ? NULL : value);
        }
    }
}

void entropy_sow(struct run *r)
{
    struct prng p = {.state = r->seed ^ 0x736f77};

    if (!applies(r)) {
        return;
    }
    for (uint32_t i = 0; i < r->swarm.old_keys_n; i++) {
        sow_key(r, &p, i);
    }
    for (uint8_t node = 0; r->swarm.diverge && node < r->swarm.nodes_n; node++) {
        put(r, node, diverged_key, 1, prng_chance(&p, 1, 2) ? "left" : "right");
    }
}

/* ---- what has become of it ---- */

/* The newest version of a key among the living. */
struct newest {
    struct tag tag;
    bool opens;     /* somebody has it and can open it */
    bool tombstone; /* or so says one that cannot */
};

static struct newest newest_of(struct run *r, struct bytes key)
{
    struct newest ret = {0};

    for (uint8_t node = 0; node < r->swarm.hosts_n; node++) {
        struct store_entry e;
        int c;

        struct store *store = store_for(r, node, key);

        if (store == NULL || store_find(store, key, &e) != OK) {
            continue;
        }
        c = tag_compare(e.tag, ret.tag);
        ret.tag = c > 0 ? e.tag : ret.tag;
        ret.tombstone = c > 0 ? e.tombstone : ret.tombstone;
        ret.opens = c > 0 ? !e.damaged : ret.opens || (c == 0 && !e.damaged);
    }
    return ret;
}

/* COL-8: it has dropped the tombstone and waits, sealed, for one that died; the others went back.
 */
static bool is_sealed(struct run *r, uint8_t node, enum err err, const struct newest *newest)
{
    return err == ERR_NOT_FOUND && newest->tombstone && r->ops->listed(r, node) != 0;
}

/* What nobody can open nobody can copy. */
static bool key_agrees(struct run *r, struct bytes key)
{
    struct newest newest = newest_of(r, key);

    for (uint8_t node = 0; newest.opens && node < r->swarm.hosts_n; node++) {
        struct store *store = store_for(r, node, key);
        struct store_entry e;
        enum err err = store == NULL ? OK : store_find(store, key, &e);

        if (store != NULL && !is_sealed(r, node, err, &newest) &&
            (err != OK || tag_compare(e.tag, newest.tag) != 0 || e.damaged)) {
            return false;
        }
    }
    return true;
}

static bool keys_of_agree(struct run *r, struct store *store)
{
    uint8_t at[BOUND_MAX];
    struct bytes from = {.p = at};
    struct store_walk w;

    for (;;) { /* a walk does not outlive a look into the store */
        store_walk_begin(from, (struct bytes){0}, false, &w);
        if (store_walk_next(store, &w) != OK) {
            return true;
        }
        memcpy(at, w.key.p, w.key.n);
        at[w.key.n] = 0; /* the first key above it */
        from.n = w.key.n + 1;
        if (!key_agrees(r, (struct bytes){at, from.n - 1})) {
            return false;
        }
    }
}

static bool value_is(struct run *r, uint8_t node, const char *value)
{
    struct store *store = store_for(r, node, text(diverged_key));
    uint8_t to[64];
    struct store_entry e;

    return store != NULL &&
           store_read(store, text(diverged_key), (struct mbytes){to, sizeof(to)}, &e) == OK &&
           bytes_equal((struct bytes){to, e.value_len}, text(value));
}

static bool is_diverged(struct run *r)
{
    bool left = false, right = false;

    for (uint8_t node = 0; r->swarm.diverge && node < r->swarm.hosts_n; node++) {
        left = left || value_is(r, node, "left");
        right = right || value_is(r, node, "right");
    }
    return left && right;
}

static bool holds_something(struct run *r, uint8_t node)
{
    bool holds = false;

    for (uint32_t group = 0; group < run_groups(r); group++) {
        holds = holds || r->ops->store(r, node, group) != NULL;
    }
    return holds;
}

static bool is_alarm(struct run *r)
{
    bool alarm = false;

    for (uint8_t node = 0; node < r->swarm.hosts_n; node++) {
        alarm = alarm || (holds_something(r, node) && r->ops->divergences(r, node) != 0);
    }
    return alarm;
}

static bool all_agree(struct run *r, uint8_t node)
{
    bool agree = true;

    for (uint32_t group = 0; group < run_groups(r); group++) {
        struct store *store = r->ops->store(r, node, group);

        agree = agree && (store == NULL || keys_of_agree(r, store));
    }
    return agree;
}

/* COL-4: with every member up no tombstone stays that the others hear of, unless something is
 * accepted for its successor. */
static bool collects_all(const struct run *r)
{
    return r->swarm.collect_ns != 0 && r->swarm.rmw_chance == 0 && r->swarm.tampered_n == 0 &&
           r->crashes_n == 0;
}

static bool has_tombstones(struct run *r, uint8_t node)
{
    uint64_t n = 0;

    for (uint32_t group = 0; group < run_groups(r); group++) {
        struct store *store = r->ops->store(r, node, group);
        struct store_stats stats = {0};

        if (store != NULL) {
            store_stats(store, &stats);
        }
        n += stats.tombstones;
    }
    return n != 0;
}

const char *entropy_wants(struct run *r)
{
    bool alarm;

    if (!applies(r)) {
        return NULL;
    }
    alarm = is_alarm(r);
    if (alarm && !r->swarm.diverge) {
        run_fault(r, VERDICT_WRONG, "a replica reports other values under equal tags");
    }
    for (uint8_t node = 0; node < r->swarm.hosts_n; node++) {
        if (!all_agree(r, node)) {
            return "a replica lags";
        }
        if (collects_all(r) && has_tombstones(r, node)) {
            return "a tombstone stays";
        }
    }
    return alarm || !is_diverged(r) ? NULL : "a silent divergence is not reported";
}
