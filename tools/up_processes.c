// SPDX-License-Identifier: Apache-2.0
#include "tools/up.h"

#include "tools/node_report.h"
#include "tools/node_words.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 1000, PAUSE_MS = 20, STOP_MS = 5000, HOMES_TEXT = 512 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

void up_catch_signals(void)
{
    struct sigaction on = {.sa_handler = on_signal};

    (void)sigaction(SIGINT, &on, NULL);
    (void)sigaction(SIGTERM, &on, NULL);
}

bool up_is_interrupted(void)
{
    return interrupted != 0;
}

void up_close_nodes(struct up *u)
{
    node_process_close(&u->supervisor);
    node_process_close(&u->services[0]);
    node_process_close(&u->services[1]);
    for (uint32_t i = 0; i < CLUSTER_MAX; i++) {
        node_process_close(&u->nodes[i]);
    }
}

void up_find_nodes(struct up *u)
{
    up_close_nodes(u);
    u->supervisor = node_process_find(u->folder.fd, NODE_SUPERVISOR);
    u->services[0] = node_process_find(u->folder.fd, NODE_CAS);
    u->services[1] = node_process_find(u->folder.fd, NODE_LAS);
    for (uint32_t i = 0; i < u->folder.cluster.members_n; i++) {
        u->nodes[i] = node_process_find(u->folder.fd, u->folder.cluster.members[i].node);
    }
}

uint32_t up_count_nodes(const struct up *u, enum node_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < u->folder.cluster.members_n; i++) {
        n += u->nodes[i].state == state;
    }
    return n;
}

void up_stop_nodes(struct up *u)
{
    const uint32_t supervisor = NODE_SUPERVISOR, services[] = {NODE_CAS, NODE_LAS};
    uint32_t numbers[CLUSTER_MAX];

    up_find_nodes(u);
    (void)node_process_stop(u->folder.fd, &u->supervisor, &supervisor, 1, STOP_MS);
    up_find_nodes(u);
    for (uint32_t i = 0; i < u->folder.cluster.members_n; i++) {
        numbers[i] = u->folder.cluster.members[i].node;
    }
    (void)node_process_stop(u->folder.fd, u->nodes, numbers, u->folder.cluster.members_n, STOP_MS);
    (void)node_process_stop(u->folder.fd, u->services, services, 2, STOP_MS);
}

bool up_has_cpus(const struct up *u)
{
    return u->cpus != NULL && strcmp(u->cpus, "auto") != 0 && strcmp(u->cpus, "any") != 0;
}

/* With fewer processors than shards: all of them. NULL: shards do without. */
static const char *homes_of(const struct up *u, char text[static HOMES_TEXT])
{
    const struct cluster *c = &u->folder.cluster;
    cpu_set_t all;
    size_t n = 0;

    if ((u->cpus != NULL && strcmp(u->cpus, "any") == 0) ||
        sched_getaffinity(0, sizeof(all), &all) != 0 ||
        (uint32_t)CPU_COUNT(&all) >= c->members_n * c->shards) {
        return NULL;
    }
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all)) {
            n += (size_t)snprintf(text + n, HOMES_TEXT - n, n == 0 ? "%zu" : ",%zu", i);
        }
        if (n >= HOMES_TEXT) {
            return NULL;
        }
    }
    return text;
}

RESULT up_start_supervisor(struct up *u, bool founds, struct explain *why)
{
    struct node_words w = {.start = {.dir = u->folder.fd,
                                     .program = u->program,
                                     .node = NODE_SUPERVISOR,
                                     .argv = {"avocado", "supervise"}}};
    char homes[HOMES_TEXT];

    node_words_add(&w, "--dir", u->folder.path);
    node_words_add(&w, "--restart", u->restart);
    node_words_add(&w, "--io", u->io);
    node_words_add(&w, "--poll", u->poll);
    node_words_add(&w, up_has_cpus(u) ? "--cpus" : "--homes",
                   up_has_cpus(u) ? u->cpus : homes_of(u, homes));
    node_words_add(&w, "--arena-dir", u->arena_dir);
    node_words_add(&w, "--memory", u->memory);
    if (founds) {
        node_words_flag(&w, "--found");
    }
    node_process_close(&u->supervisor);
    return node_process_start(&w.start, &u->supervisor, why);
}

/* One that has ended, or 0 of no number: *ret_node. */
static bool has_ended(struct up *u, uint32_t *ret_node)
{
    const uint32_t services[] = {NODE_CAS, NODE_LAS};
    const struct cluster *c = &u->folder.cluster;
    struct pollfd p = {.fd = u->supervisor.pidfd, .events = POLLIN};

    *ret_node = NODE_SUPERVISOR;
    if (poll(&p, 1, PAUSE_MS) == 1) {
        return true;
    }
    for (uint32_t i = 0; i < 2 + c->members_n; i++) {
        struct node_process *process = i < 2 ? &u->services[i] : &u->nodes[i - 2];

        *ret_node = i < 2 ? services[i] : c->members[i - 2].node;
        node_process_close(process);
        *process = node_process_find(u->folder.fd, *ret_node);
        if (process->state == NODE_DEAD) {
            return true;
        }
    }
    return false;
}

/* Waits a moment. False when a process has ended or we are to stop; *why says which. */
static bool all_alive(struct up *u, struct explain *why)
{
    char last[256], title[24];
    uint32_t node;

    if (has_ended(u, &node)) {
        node_process_last_words(u->folder.fd, node, last, sizeof(last));
        (void)snprintf(why->text, sizeof(why->text), "%s ended at once: %s",
                       node_process_title(node, title), last[0] == '\0' ? "it said nothing" : last);
        return false;
    }
    if (interrupted != 0) {
        (void)snprintf(why->text, sizeof(why->text), "interrupted");
        return false;
    }
    return true;
}

static bool all_vote(struct up *u, struct avo_client *client, struct explain *why)
{
    const struct cluster *c = &u->folder.cluster;
    bool all = true;

    for (size_t i = 0; all && i < c->members_n; i++) {
        struct node_report r;

        node_report_ask(client, i, ASK_MS, &r);
        all = r.is_up && strcmp(r.state, "no_majority") != 0 && r.members_up == c->members_n;
        if (!all) {
            (void)snprintf(why->text, sizeof(why->text), "node %u %s%s", c->members[i].node,
                           r.is_up ? "does not see all others yet" : "does not answer: ", r.why);
        }
        node_report_free(&r);
    }
    return all;
}

RESULT up_wait_ready(struct up *u, struct explain *why)
{
    struct explain last = {.text = "the CAS has not said anything yet"};
    struct avo_client *client = NULL;
    char path[PATH_MAX + 32];
    bool ready = false;

    (void)snprintf(path, sizeof(path), "%s/client.yaml", u->folder.path);
    while (!ready) {
        if (!all_alive(u, why)) {
            break;
        }
        if (client == NULL && access(path, F_OK) == 0) {
            (void)avo_open(path, &(struct avo_options){.connect_ms = ASK_MS}, &client, last.text,
                           sizeof(last.text));
        }
        ready = client != NULL && all_vote(u, client, &last);
        if (!ready && cli_now_ms() > u->until_ms) {
            (void)snprintf(why->text, sizeof(why->text), "not ready in time: %.400s", last.text);
            break;
        }
    }
    avo_close(client);
    return ready ? OK : ERR_UNAVAILABLE;
}
