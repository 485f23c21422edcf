// SPDX-License-Identifier: Apache-2.0
#include "tools/supervisor.h"

#include "daemons/log.h"
#include "tools/cli.h"
#include "trusted/register/keeping.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    TICK_MS = 15,        /* while something changes */
    TICK_QUIET_MS = 500, /* otherwise; a process that ends wakes us at once */
    AT_ONCE_MS = 5000,
    PAUSE_MS = 250,
    LEAVE_MS = 5000, /* who is no member any more stops by itself, or is stopped */
    FIXED = 4,       /* descriptors before those of members */
};

int supervisor_place(const struct supervisor *s, const struct supervised *m)
{
    return keeping_place(&s->cas.cluster, m->incarnation);
}

/* Returns how many. */
static uint32_t processes(const struct supervisor *s, struct keeping_process ret[SUPERVISED_MAX])
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct supervised *m = &s->members[i];

        ret[i] = (struct keeping_process){m->node, m->incarnation, m->process.state == NODE_ALIVE};
    }
    return s->n;
}

static struct supervised *find(struct supervisor *s, uint32_t incarnation)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->members[i].incarnation == incarnation) {
            return &s->members[i];
        }
    }
    return NULL;
}

static void forget(struct supervisor *s, struct supervised *m)
{
    supervisor_link_close(m);
    node_process_close(&m->process);
    node_report_free(&m->report);
    *m = s->members[--s->n];
    s->members[s->n] = (struct supervised){0};
}

/* ---- processes ---- */

/* Members of the configuration that is handed out and have no process: they begin now. */
static void start_new(struct supervisor *s)
{
    struct keeping_process known[SUPERVISED_MAX];
    const struct cluster_member *m;
    struct explain why = {{0}};

    while (s->n < SUPERVISED_MAX &&
           (m = keeping_to_start(&s->cas.cluster, known, processes(s, known))) != NULL) {
        struct node_words w = {.start = {.dir = s->folder.fd}};
        struct supervised new = {.node = m->node,
                                 .incarnation = m->incarnation,
                                 .process = {.state = NODE_DEAD, .pidfd = -1},
                                 .started_at_ms = s->now_ms,
                                 .link = {.fd = -1}};

        s->wishes.shards = s->cas.cluster.shards;
        node_words_member(&s->wishes, m, &w);
        if (node_process_start(&w.start, &new.process, &why) != OK) {
            node_log("error", "%s", why.text);
        } else {
            node_log("info", "node %u started for incarnation %u", m->node, m->incarnation);
        }
        s->members[s->n++] = new;
    }
}

/* Something is wrong with a member that ends as soon as it has started. */
static void pause_restarts(struct supervisor *s, const struct supervised *m)
{
    if (s->now_ms - m->started_at_ms >= AT_ONCE_MS) {
        s->ended_at_once = 0;
        return;
    }
    s->pause_until_ms =
        s->now_ms + ((uint64_t)PAUSE_MS << (s->ended_at_once < 7 ? s->ended_at_once : 7));
    s->ended_at_once++;
}

static void reap(struct supervisor *s)
{
    char last[200];

    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];
        struct pollfd p = {.fd = m->process.pidfd, .events = POLLIN};

        if (m->process.state != NODE_ALIVE || poll(&p, 1, 0) != 1) {
            continue;
        }
        node_process_reaped(&m->process);
        node_process_last_words(s->folder.fd, m->node, last, sizeof(last));
        if (supervisor_place(s, m) < 0) {
            /* The CAS hears of this end, too: it may wait for what the member had no time to say.
             */
            node_log("info", "node %u (incarnation %u) has left", m->node, m->incarnation);
            supervisor_link_close(m);
            continue;
        }
        node_log("warning", "node %u (incarnation %u) ended, its memory is lost: %s", m->node,
                 m->incarnation, last);
        supervisor_link_close(m);
        pause_restarts(s, m);
    }
}

void supervisor_kill_lost(struct supervisor *s)
{
    const json_t *m;
    size_t i;

    json_array_foreach(json_object_get(s->cas.standing, "members"), i, m)
    {
        struct supervised *v =
            find(s, (uint32_t)json_integer_value(json_object_get(m, "incarnation")));

        if (json_is_true(json_object_get(m, "lost")) && v != NULL &&
            v->process.state == NODE_ALIVE) {
            (void)pidfd_send_signal(v->process.pidfd, SIGKILL, NULL, 0);
        }
    }
}

void supervisor_tell_lost(struct supervisor *s, bool all)
{
    struct explain why = {{0}};

    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];

        if (m->process.state != NODE_ALIVE && !m->is_told &&
            (all || s->restarts || supervisor_place(s, m) < 0)) {
            m->is_told = supervisor_cas_order(s,
                                              json_pack("{s:s,s:I}", "do", "lost", "incarnation",
                                                        (json_int_t)m->incarnation),
                                              NULL, &why) == OK;
        }
    }
}

/* Who is no member any more has a moment to find out and stop; the dead go at once. */
static void dismiss(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];

        if (supervisor_place(s, m) >= 0) {
            continue;
        }
        if (m->process.state != NODE_ALIVE) {
            if (m->is_told) {
                forget(s, m);
                i--;
            }
        } else if (m->gone_at_ms == 0) {
            m->gone_at_ms = s->now_ms + LEAVE_MS;
        } else if (s->now_ms >= m->gone_at_ms) {
            (void)pidfd_send_signal(m->process.pidfd, SIGKILL, NULL, 0);
        }
    }
}

/* Takes over the members that run. One that has joined and has no process has lost its memory; one
 * that has not begins now. */
static void adopt(struct supervisor *s)
{
    const json_t *o;
    size_t i;

    json_array_foreach(json_object_get(s->cas.standing, "members"), i, o)
    {
        uint32_t node = (uint32_t)json_integer_value(json_object_get(o, "node"));
        struct supervised m = {.node = node,
                               .incarnation =
                                   (uint32_t)json_integer_value(json_object_get(o, "incarnation")),
                               .process = node_process_find(s->folder.fd, node),
                               .link = {.fd = -1}};

        if (m.process.state == NODE_ALIVE || json_is_true(json_object_get(o, "joined"))) {
            m.process.state = m.process.state == NODE_ALIVE ? NODE_ALIVE : NODE_DEAD;
            s->members[s->n++] = m;
        }
    }
    s->adopted = true;
}

void supervisor_progress(struct supervisor *s)
{
    if (s->cas.cluster.epoch == 0) {
        return; /* the CAS has not said anything yet */
    }
    if (!s->adopted) {
        if (!s->is_new) {
            supervisor_service_measure(s);
        }
        adopt(s);
    }
    if (s->cas.is_up && s->now_ms >= s->pause_until_ms) {
        supervisor_tell_lost(s, false);
    }
    dismiss(s);
    start_new(s);
}

/* ---- the loop ---- */

static bool is_quiet(const struct supervisor *s)
{
    return supervisor_cas_is_quiet(s) && s->services[0].process.state == NODE_ALIVE &&
           s->services[1].process.state == NODE_ALIVE;
}

/* What poll has named. */
struct readiness {
    bool socket;
    bool member[SUPERVISED_MAX];
};

/* Waits for something to happen. False: we are to end. */
static bool wait(struct supervisor *s, struct readiness *ret)
{
    struct pollfd p[FIXED + 2 * SUPERVISED_MAX];
    nfds_t n = 2;

    p[0] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    p[1] = (struct pollfd){.fd = s->socket, .events = POLLIN};
    for (size_t i = 0; i < 2; i++) {
        const struct node_process *v = &s->services[i].process;

        p[n++] = (struct pollfd){.fd = v->state == NODE_ALIVE ? v->pidfd : -1, .events = POLLIN};
    }
    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];

        p[n++] = (struct pollfd){.fd = m->process.state == NODE_ALIVE ? m->process.pidfd : -1,
                                 .events = POLLIN};
        p[n++] = (struct pollfd){.fd = m->link.fd, .events = supervisor_link_events(m)};
    }
    (void)poll(p, n, is_quiet(s) ? TICK_QUIET_MS : TICK_MS);
    s->now_ms = cli_now_ms();
    for (uint32_t i = 0; i < s->n; i++) {
        ret->member[i] = p[FIXED + 1 + 2 * i].revents != 0;
    }
    ret->socket = p[1].revents != 0;
    return p[0].revents == 0;
}

static void run(struct supervisor *s)
{
    struct readiness ready = {0};

    do {
        bool urgent = !is_quiet(s);

        for (uint32_t i = 0; i < s->n; i++) {
            supervisor_link_step(s, &s->members[i], ready.member[i], urgent);
        }
        supervisor_service_step(s);
        reap(s);
        supervisor_cas_step(s);
        supervisor_renew(s);
        supervisor_progress(s);
        if (ready.socket) {
            supervisor_answer(s);
        }
        for (uint32_t i = 0; i < s->n; i++) { /* hand out at once what was just decided */
            supervisor_link_step(s, &s->members[i], false, urgent);
        }
    } while (wait(s, &ready));
}

/* ---- life ---- */

static bool open_socket(struct supervisor *s)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int at;

    /* A name in the folder may be longer than an address can be: go there by descriptor. */
    at = snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/run/supervisor.sock",
                  s->folder.fd);
    (void)unlinkat(s->folder.fd, "run/supervisor.sock", 0);
    s->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return at < (int)sizeof(a.sun_path) && s->socket >= 0 &&
           bind(s->socket, (const struct sockaddr *)&a, sizeof(a)) == 0 &&
           listen(s->socket, 16) == 0;
}

static enum err open_all(struct supervisor *s, const char *dir, struct explain *why)
{
    sigset_t set;

    TRY(cluster_dir_look(dir, &s->folder, why));
    TRY(supervisor_service_open(s, why));
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (getrandom(s->boot, sizeof(s->boot), 0) != (ssize_t)sizeof(s->boot) || s->signals < 0 ||
        !open_socket(s)) {
        (void)snprintf(why->text, sizeof(why->text), "cannot open sockets: %s", strerror(errno));
        return ERR_IO;
    }
    return OK;
}

/* Programs and address, and then to work. */
static int serve(struct supervisor *s, const struct cli *c, bool is_split)
{
    char address[HOST_MAX_LEN + 16];

    if (!cli_find_program("avocadod", s->program) ||
        (is_split && !cli_find_program("avocado-hostd", s->hostd))) {
        return cli_fail(c, CLI_UNAVAILABLE, "NO_PROGRAM",
                        "avocadod or avocado-hostd is not beside this program");
    }
    cas_link_address(s->folder.fd, address);
    s->wishes.cas = address;
    s->wishes.program = s->program;
    s->wishes.hostd = is_split ? s->hostd : NULL;
    s->now_ms = s->began_at_ms = cli_now_ms();
    run(s);
    node_log("info", "stopping; the members serve on");
    (void)unlinkat(s->folder.fd, "run/supervisor.sock", 0);
    return CLI_OK;
}

int cmd_supervise(struct cli *c, int argc, char **argv)
{
    struct supervisor *s = calloc(1, sizeof(*s));
    const char *dir = cli_default_dir, *restart = "yes", *io = "udp";
    struct explain why = {{0}};
    int rest, code = CLI_UNAVAILABLE;
    enum err err;

    if (s == NULL) {
        return cli_fail_status(c, AVO_NO_MEMORY, NULL);
    }
    s->folder.fd = s->signals = s->socket = -1;
    s->services[0].process.pidfd = s->services[1].process.pidfd = -1;
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &dir, 0, 0,
         NULL},
        {"restart", "yes|no", "start members again that end (default yes)", OPTION_TEXT, &restart,
         0, 0, NULL},
        {"found", NULL, "the folder is new: the CAS founds the cluster", OPTION_FLAG, &s->founds, 0,
         0, NULL},
        {"io", "KIND", "of members: udp, ring or dpdk", OPTION_TEXT, &io, 0, 0, NULL},
        {"poll", "KIND", "for avocadod", OPTION_TEXT, &s->wishes.poll, 0, 0, NULL},
        {"cpus", "LIST", "for avocadod", OPTION_TEXT, &s->wishes.cpus, 0, 0, NULL},
        {"homes", "LIST", "for avocadod", OPTION_TEXT, &s->wishes.homes, 0, 0, NULL},
        {"arena-dir", "DIR", "for avocadod", OPTION_TEXT, &s->wishes.arena_dir, 0, 0, NULL},
        {"memory", "KIND", "for avocadod", OPTION_TEXT, &s->wishes.memory, 0, 0, NULL},
        {0},
    };
    if (cli_parse(c, &(struct cli_line){"supervise", specs, 0, 0}, argc, argv, &rest, &code)) {
        s->restarts = strcmp(restart, "no") != 0;
        s->is_new = s->founds;
        s->wishes.is_dpdk = strcmp(io, "dpdk") == 0;
        err = open_all(s, dir, &why);
        code = err == OK ? serve(s, c, strcmp(io, "ring") == 0)
                         : cli_fail(c, CLI_UNAVAILABLE, err_name(err), "%s", why.text);
    }
    while (s->n > 0) {
        forget(s, &s->members[0]);
    }
    node_process_close(&s->services[0].process);
    node_process_close(&s->services[1].process);
    supervisor_cas_close(s);
    identity_free(s->owner);
    cluster_dir_close(&s->folder);
    free(s);
    return code;
}
