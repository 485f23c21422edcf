// SPDX-License-Identifier: Apache-2.0
/* Steps of a story that are no operations. */
#include "common/check.h"
#include "sim/faults.h"
#include "sim/scenario_internal.h"

#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);
static const uint64_t FOR_EVER_NS = UINT64_C(1) << 60;
static const uint64_t WAIT_NS = UINT64_C(30000000000);

static struct replicas *cluster(const struct story *s)
{
    return replicas_of(s->r);
}

static struct config_register *reg(const struct story *s)
{
    return &cluster(s)->keeper.reg;
}

/* What runs at the host of word 1; NOBODY and a failure: nothing does. */
static uint8_t process_at(struct story *s)
{
    uint8_t p = cluster(s)->runs[story_host(s, 1)];

    if (p == NOBODY) {
        story_fail(s, "nothing runs there");
    }
    return s->failed ? NOBODY : p;
}

/* ---- processes ---- */

static void do_crash(struct story *s)
{
    uint8_t p = process_at(s);

    if (p != NOBODY) {
        cluster(s)->held[cluster(s)->ends[p].host] = true;
        process_end(s->r, p, true);
    }
}

static void do_restart(struct story *s)
{
    uint8_t host = story_host(s, 1), p = cluster(s)->runs[host];

    cluster(s)->held[host] = false;
    if (p != NOBODY && !s->failed) {
        members_end(s->r, p, true);
    }
}

static void do_pause(struct story *s)
{
    s->r->paused_until_ns[story_host(s, 1)] = FOR_EVER_NS;
}

/* Events that came meanwhile wait for the end of the pause: they are due now. */
static void wake_events(struct run *r, uint64_t from_ns)
{
    struct world old = r->world;

    r->world.heap = NULL;
    r->world.n = r->world.cap = 0;
    for (size_t i = 0; i < old.n; i++) {
        const struct event *e = &old.heap[i];

        world_push(&r->world, e->at_ns >= from_ns ? 0 : e->at_ns, e->kind, e->a, e->b, e->p);
    }
    free(old.heap);
}

static void do_resume(struct story *s)
{
    s->r->paused_until_ns[story_host(s, 1)] = 0;
    wake_events(s->r, FOR_EVER_NS);
}

static void do_sleep(struct story *s)
{
    uint8_t p = process_at(s);

    if (p != NOBODY) {
        struct end *e = &cluster(s)->ends[p];

        e->given_up = e->is_ghost = true;
        e->asleep_until_ns = FOR_EVER_NS;
        cluster(s)->runs[e->host] = NOBODY;
    }
}

static void do_wake(struct story *s)
{
    uint8_t host = story_host(s, 1);

    for (uint8_t p = 0; p < processes_n; p++) {
        struct end *e = &cluster(s)->ends[p];

        if (is_alive(cluster(s), p) && e->host == host && e->asleep_until_ns != 0) {
            e->asleep_until_ns = 0;
            sessions_invite(s->r, p, ms); /* the network leads clients to it */
        }
    }
    wake_events(s->r, FOR_EVER_NS);
}

static void do_clone(struct story *s)
{
    uint8_t p = process_at(s), clone = NOBODY;

    if (p != NOBODY) {
        const struct end *e = &cluster(s)->ends[p];

        clone = process_start(s->r, &(struct birth){.host = e->host,
                                                    .incarnation = e->incarnation,
                                                    .epoch = e->epoch,
                                                    .is_clone = true});
    }
    if (clone != NOBODY) {
        sessions_invite(s->r, clone, ms);
    }
}

/* ---- the network, clocks ---- */

static void do_partition(struct story *s)
{
    uint8_t side[NODES_MAX] = {0}, now = 1;

    for (uint32_t i = 1; i < s->words_n; i++) {
        if (strcmp(s->words[i], "|") == 0) {
            now++;
        } else {
            side[story_host(s, i)] = now;
        }
    }
    for (uint8_t a = 0; a < s->r->swarm.hosts_n; a++) {
        for (uint8_t b = 0; b < s->r->swarm.hosts_n; b++) {
            faults_set_blocked(s->r, a, b, side[a] != 0 && side[b] != 0 && side[a] != side[b]);
        }
    }
}

static void do_jump(struct story *s)
{
    s->r->clock_ns[story_host(s, 1)] += (int64_t)(story_number(s, 2) * ms);
}

static void do_stop(struct story *s)
{
    faults_stop_clock(s->r, story_host(s, 1), story_number(s, 2) * ms);
}

static void do_hold(struct story *s)
{
    uint8_t p = process_at(s);
    struct tag tag = {.ts = story_number(s, 4), .writer = 900};
    struct bytes key = {(const uint8_t *)s->words[2], strlen(s->words[2])};
    struct bytes value = {(const uint8_t *)s->words[3], strlen(s->words[3])};
    bool applied;

    if (p != NOBODY) {
        CHECK(store_apply(replica_store(cluster(s)->ends[p].replica), key, tag, false, value,
                          &applied) == OK);
    }
}

/* ---- the keeper ---- */

static void decided(struct story *s, enum err err, const struct explain *why)
{
    if (err != OK) {
        story_fail(s, "%s: %.200s", err_name(err), why->text);
        return;
    }
    registrar_progress(s->r);
}

static void do_add(struct story *s)
{
    uint8_t host = story_host(s, 1);
    struct register_wish w = registrar_wish(host);
    struct explain why = {{0}};

    decided(s, register_wish_add(reg(s), &w, &why), &why);
}

static void do_remove(struct story *s)
{
    struct explain why = {{0}};

    decided(s, register_wish_remove(reg(s), registrar_node(story_host(s, 1)), &why), &why);
}

static void do_factor(struct story *s)
{
    struct explain why = {{0}};

    decided(s, register_wish_factor(reg(s), (uint32_t)story_number(s, 1), &why), &why);
}

static void do_accept_loss(struct story *s)
{
    struct explain why = {{0}};

    decided(s, register_accept_loss(reg(s), &why), &why);
}

static void do_keeper_stop(struct story *s)
{
    registrar_leave(s->r, FOR_EVER_NS);
}

static void do_keeper_start(struct story *s)
{
    cluster(s)->keeper.back_at_ns = 0;
}

/* ---- time and load ---- */

static bool never(struct story *s, uint64_t arg)
{
    (void)s;
    (void)arg;
    return false;
}

static void do_run(struct story *s)
{
    (void)story_until(s, never, 0, story_number(s, 1) * ms);
}

static void do_load(struct story *s)
{
    run_load(s->r, (uint32_t)story_number(s, 1));
}

static bool load_is_done(struct story *s, uint64_t arg)
{
    (void)arg;
    return s->r->pending_n == 0 && s->r->started_n == s->r->swarm.ops_n;
}

/* Somebody must have been served: of what the load asked, this share at least, in percent. */
static void do_load_done(struct story *s)
{
    uint64_t percent = story_number(s, 1);
    size_t good = 0;

    if (!story_until(s, load_is_done, 0, WAIT_NS)) {
        story_fail(s, "the load is not done");
        return;
    }
    for (size_t i = 0; i < s->r->history.n; i++) {
        enum err status = s->r->history.ops[i].status;

        good += s->r->history.ops[i].returned && status != ERR_INDETERMINATE &&
                status != ERR_UNAVAILABLE && status != ERR_BUSY;
    }
    if (good * 100 < s->r->history.n * percent) {
        story_fail(s, "%zu of %zu operations were served", good, s->r->history.n);
    }
}

/* ---- looking ---- */

static bool is_whole(struct story *s, uint64_t arg)
{
    (void)arg;
    return members_want(s->r) == NULL;
}

static bool has_voters(struct story *s, uint64_t n)
{
    const struct config_register *k = reg(s);
    uint32_t in_force = 0;

    for (uint32_t i = 0; i < k->current.members_n; i++) {
        uint8_t p = process_find(cluster(s), k->current.members[i].incarnation);

        in_force += (k->current.groups[0].voters >> i & 1) != 0 && p != NOBODY &&
                    cluster(s)->ends[p].epoch >= k->current.epoch;
    }
    return k->phase == REGISTER_ACTIVE && in_force == n &&
           (uint64_t)__builtin_popcount(cluster_voters(&k->current)) == n;
}

static bool is_epoch(struct story *s, uint64_t epoch)
{
    return register_latest(reg(s))->epoch >= epoch;
}

static bool is_gone(struct story *s, uint64_t host)
{
    for (uint8_t p = 0; p < processes_n; p++) {
        if (is_alive(cluster(s), p) && cluster(s)->ends[p].host == host &&
            cluster(s)->ends[p].is_ghost) {
            return false;
        }
    }
    return true;
}

static bool is_diverged(struct story *s, uint64_t arg)
{
    bool any = false;

    (void)arg;
    for (uint8_t host = 0; host < s->r->swarm.hosts_n; host++) {
        any = any || s->r->ops->divergences(s->r, host) != 0;
    }
    return any;
}

static void wait_until(struct story *s, bool (*is_so)(struct story *s, uint64_t arg), uint64_t arg)
{
    if (!s->failed && !story_until(s, is_so, arg, WAIT_NS)) {
        struct explain why;

        register_explain(reg(s), &why);
        story_fail(s, "not within 30 s; %.200s", why.text);
    }
}

static void do_wait_whole(struct story *s)
{
    wait_until(s, is_whole, 0);
}

static void do_wait_voters(struct story *s)
{
    wait_until(s, has_voters, story_number(s, 1));
}

static void do_wait_epoch(struct story *s)
{
    wait_until(s, is_epoch, story_number(s, 1));
}

static void do_wait_gone(struct story *s)
{
    wait_until(s, is_gone, story_host(s, 1));
}

static void do_wait_divergence(struct story *s)
{
    wait_until(s, is_diverged, 0);
}

static void expect_members(struct story *s, bool learners)
{
    const struct cluster *c = &reg(s)->current;
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->members_n; i++) {
        if (((c->groups[0].voters >> i & 1) == 0) != learners) {
            continue;
        }
        n++;
        if (n >= s->words_n || story_number(s, n) != c->members[i].node) {
            story_fail(s, "node %u is one, too", c->members[i].node);
        }
    }
    if (n + 1 != s->words_n) {
        story_fail(s, "%u are", n);
    }
}

static void expect_voters(struct story *s)
{
    expect_members(s, false);
}

static void expect_learners(struct story *s)
{
    expect_members(s, true);
}

static void expect_health(struct story *s)
{
    static const char *const names[] = {"none", "whole", "changing", "majority-lost"};
    const char *found = names[register_health(reg(s))];

    if (strcmp(found, s->words[1]) != 0) {
        story_fail(s, "it is %s", found);
    }
}

static void expect_alone(struct story *s)
{
    uint8_t host = story_host(s, 1);
    uint32_t n = 0;

    for (uint8_t p = 0; p < processes_n; p++) {
        const struct end *e = &cluster(s)->ends[p];
        struct replica_report report;

        if (!is_alive(cluster(s), p) || e->host != host || !e->is_ghost) {
            continue;
        }
        n++;
        replica_report(e->replica, &report);
        if (report.members_up != 1U << e->self) {
            story_fail(s, "it has sessions with members");
        }
    }
    if (n == 0) {
        story_fail(s, "no such process runs");
    }
}

static void expect_agreement(struct story *s)
{
    if (is_diverged(s, 0)) {
        story_fail(s, "a divergence is reported");
    }
}

/* ---- all steps ---- */

static const struct step {
    const char *words; /* of the line, in front */
    uint32_t args;     /* at least */
    bool is_expected;
    void (*run)(struct story *s);
    const char *text;
} steps[] = {
    {"crash", 1, false, do_crash, "N: its process ends, the host runs none"},
    {"restart", 1, false, do_restart, "N: the host may run one; one that runs ends first"},
    {"pause", 1, false, do_pause, "N: nothing goes on there; the keeper waits"},
    {"resume", 1, false, do_resume, "N"},
    {"sleep", 1, false, do_sleep, "N: like pause, but the keeper takes it for dead"},
    {"wake", 1, false, do_wake, "N: the sleeper goes on, and clients come to it"},
    {"clone", 1, false, do_clone, "N: a second process under its name, to which clients come"},
    {"partition", 3, false, do_partition, "N... | N... [| N...]: no link between the sides"},
    {"join", 0, false, do_partition, "all links are well"},
    {"clock jump", 2, false, do_jump, "N MS: the clock of a host runs ahead"},
    {"clock stop", 2, false, do_stop, "N MS: it stands still for so long"},
    {"hold", 4, false, do_hold, "N KEY VALUE TS: the node holds this, whoever wrote it"},
    {"member add", 1, false, do_add, "N: the node is wanted"},
    {"member remove", 1, false, do_remove, "N: the node is not wanted any more"},
    {"factor", 1, false, do_factor, "F: so many voters are wanted"},
    {"accept-loss", 0, false, do_accept_loss, "an operator gives up what only the lost held"},
    {"keeper stop", 0, false, do_keeper_stop, "the register's keeper is away"},
    {"keeper start", 0, false, do_keeper_start, "it goes on from what is stored"},
    {"run", 1, false, do_run, "MS: time goes by"},
    {"load", 1, false, do_load, "N: clients begin N operations, to be judged at the end"},
    {"wait load", 1, false, do_load_done, "P: all have ended, P percent were served"},
    {"wait whole", 0, false, do_wait_whole, "every wished node votes or stands by"},
    {"wait voters", 1, false, do_wait_voters, "N: so many vote, all under the last configuration"},
    {"wait epoch", 1, false, do_wait_epoch, "E: that configuration or a later one"},
    {"wait gone", 1, false, do_wait_gone, "N: clones and sleepers of that node have stopped"},
    {"wait divergence", 0, false, do_wait_divergence, "a node reports other values, equal tags"},
    {"voters", 0, true, expect_voters, "N...: exactly these vote"},
    {"learners", 0, true, expect_learners, "N...: exactly these are learners"},
    {"health", 1, true, expect_health, "whole|changing|majority-lost"},
    {"alone", 1, true, expect_alone, "N: its clone or sleeper runs and has no session"},
    {"agreement", 0, true, expect_agreement, "no divergence is reported"},
};

/* The words in front of the line; two become one. */
static bool begins(struct story *s, const char *words)
{
    size_t n = strlen(s->words[0]);
    const char *second = strchr(words, ' ');

    if (second == NULL) {
        return strcmp(s->words[0], words) == 0;
    }
    if (s->words_n < 2 || n != (size_t)(second - words) || memcmp(s->words[0], words, n) != 0 ||
        strcmp(s->words[1], second + 1) != 0) {
        return false;
    }
    s->words_n--;
    memmove(s->words, s->words + 1, s->words_n * sizeof(s->words[0]));
    return true;
}

bool story_step(struct story *s)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (steps[i].is_expected != s->is_expected || !begins(s, steps[i].words)) {
            continue;
        }
        if (s->words_n < steps[i].args + 1) {
            story_usage(s, "the step needs more words");
        } else {
            steps[i].run(s);
        }
        return true;
    }
    return false;
}

void story_steps_help(FILE *to)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        (void)fprintf(to, "%s%s %s\n", steps[i].is_expected ? "expect " : "", steps[i].words,
                      steps[i].text);
    }
}
