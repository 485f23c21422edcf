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
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 15,        /* while something changes */
    TICK_QUIET_MS = 500, /* otherwise; a process that ends wakes us at once */
    AT_ONCE_MS = 5000,
    PAUSE_MS = 250,
    LEAVE_MS = 5000, /* who is no member any more stops by itself, or is stopped */
    NODE_DAYS = 3650,
    STEPS_MAX = 4 * NODES_MAX,
};

int supervisor_place(const struct supervisor *s, const struct supervised *m)
{
    return keeping_place(&s->keeper.reg, m->incarnation);
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

static enum err start(struct supervisor *s, const struct cluster_member *c, uint64_t epoch,
                      struct node_process *ret, struct explain *why)
{
    struct identity_name name = {
        .role = ROLE_REPLICA, .node = c->node, .incarnation = c->incarnation, .epoch = epoch};
    struct pki_pair pair = {0};
    size_t cert_n, key_n;
    uint8_t *identity;
    enum err err;

    memcpy(name.cluster, s->folder.cluster.id, sizeof(name.cluster));
    TRY(pki_issue(&s->ca, &name, (uint64_t)time(NULL), NODE_DAYS, &pair, why));
    cert_n = strlen(pair.cert_pem);
    key_n = strlen(pair.key_pem);
    identity = malloc(cert_n + key_n);
    if (identity == NULL) {
        pki_pair_free(&pair);
        (void)snprintf(why->text, sizeof(why->text), "out of memory");
        return ERR_FULL;
    }
    memcpy(identity, pair.cert_pem, cert_n);
    memcpy(identity + cert_n, pair.key_pem, key_n);
    err = node_process_start(&(struct node_start){.dir = s->folder.fd,
                                                  .dir_path = s->folder.path,
                                                  .program = s->program,
                                                  .node = c->node,
                                                  .io = s->is_dpdk ? "dpdk" : NULL,
                                                  .poll = s->poll,
                                                  .arena_dir = s->arena_dir,
                                                  .memory = s->memory,
                                                  .hostd = s->is_split ? s->hostd : NULL,
                                                  .member = c,
                                                  .shards = s->folder.cluster.shards,
                                                  .identity = {identity, cert_n + key_n}},
                             ret, why);
    explicit_bzero(identity, cert_n + key_n);
    free(identity);
    pki_pair_free(&pair);
    return err;
}

/* Members of the configuration that is handed out and have no process: they begin now. */
static void start_new(struct supervisor *s)
{
    struct keeping_process known[SUPERVISED_MAX];
    const struct cluster_member *m;
    struct explain why = {{0}};

    while (s->n < SUPERVISED_MAX &&
           (m = keeping_to_start(&s->keeper.reg, known, processes(s, known))) != NULL) {
        struct supervised new = {.node = m->node,
                                 .incarnation = m->incarnation,
                                 .process = {.state = NODE_DEAD, .pidfd = -1},
                                 .started_at_ms = s->now_ms,
                                 .link = {.fd = -1}};
        bool is_learner = m->is_learner;

        if (start(s, m, register_latest(&s->keeper.reg)->epoch, &new.process, &why) != OK) {
            node_log("error", "node %u cannot be started: %s", new.node, why.text);
            register_on_lost(&s->keeper.reg, new.incarnation);
        } else {
            node_log("info", "node %u started under incarnation %u as %s", new.node,
                     new.incarnation, is_learner ? "a learner" : "a voter");
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
        register_on_lost(&s->keeper.reg, m->incarnation); /* MEM-4, of one that has left too */
        if (supervisor_place(s, m) < 0) {
            node_log("info", "node %u (incarnation %u) has left", m->node, m->incarnation);
            forget(s, m);
            i--;
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
    const struct config_register *r = &s->keeper.reg;

    for (uint32_t i = 0; i < r->current.members_n; i++) {
        struct supervised *m = find(s, r->current.members[i].incarnation);

        if ((r->lost >> i & 1) != 0 && m != NULL && m->process.state == NODE_ALIVE) {
            (void)pidfd_send_signal(m->process.pidfd, SIGKILL, NULL, 0);
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
            forget(s, m);
            i--;
        } else if (m->gone_at_ms == 0) {
            m->gone_at_ms = s->now_ms + LEAVE_MS;
        } else if (s->now_ms >= m->gone_at_ms) {
            (void)pidfd_send_signal(m->process.pidfd, SIGKILL, NULL, 0);
        }
    }
}

/* ---- the register ---- */

static void hear(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct supervised *m = &s->members[i];

        if (m->report.is_up && m->report.incarnation == m->incarnation) {
            keeping_hear(&s->keeper.reg, &(struct keeping_report){.incarnation = m->incarnation,
                                                                  .epoch = m->report.epoch,
                                                                  .installed = m->report.installed,
                                                                  .copied = m->report.copied});
        }
    }
}

void supervisor_progress(struct supervisor *s)
{
    struct explain why = {{0}};
    uint64_t before = s->keeper.epoch;

    for (int i = 0; i < STEPS_MAX && !s->failed; i++) {
        bool moved = s->now_ms >= s->pause_until_ms && keeping_advance(&s->keeper.reg, s->restarts);

        if (keeper_publish(&s->keeper, &s->ca, NULL, &why) != OK) {
            node_log("error", "%s; nothing changes from here on", why.text);
            s->failed = true;
            return;
        }
        start_new(s);
        if (!moved) {
            break;
        }
    }
    if (s->keeper.epoch != before) {
        register_explain(&s->keeper.reg, &why);
        node_log("info", "%s", why.text);
    }
    dismiss(s);
}

/* ---- the loop ---- */

static bool is_quiet(const struct supervisor *s)
{
    enum register_health h = register_health(&s->keeper.reg);

    return h != REGISTER_HEALTH_CHANGING || keeping_waits_for_a_person(&s->keeper.reg, s->restarts);
}

/* Waits for something to happen. False: we are to end. */
static bool wait(struct supervisor *s, uint64_t *ret_ready)
{
    struct pollfd p[2 + 2 * SUPERVISED_MAX];
    nfds_t n = 2;

    p[0] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    p[1] = (struct pollfd){.fd = s->socket, .events = POLLIN};
    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];

        p[n++] = (struct pollfd){.fd = m->process.state == NODE_ALIVE ? m->process.pidfd : -1,
                                 .events = POLLIN};
        p[n++] = (struct pollfd){.fd = m->link.fd, .events = supervisor_link_events(m)};
    }
    (void)poll(p, n, is_quiet(s) ? TICK_QUIET_MS : TICK_MS);
    s->now_ms = cli_now_ms();
    *ret_ready = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        *ret_ready |= (uint64_t)(p[3 + 2 * i].revents != 0) << i;
    }
    if (p[1].revents != 0) {
        *ret_ready |= UINT64_C(1) << 63;
    }
    return p[0].revents == 0;
}

static void run(struct supervisor *s)
{
    uint64_t ready = 0;

    do {
        bool urgent = !is_quiet(s);

        for (uint32_t i = 0; i < s->n; i++) {
            supervisor_link_step(s, &s->members[i], (ready >> i & 1) != 0, urgent);
        }
        reap(s);
        hear(s);
        supervisor_renew(s);
        supervisor_progress(s);
        if (ready >> 63 != 0) {
            supervisor_answer(s);
        }
        for (uint32_t i = 0; i < s->n; i++) { /* hand out at once what was just decided */
            supervisor_link_step(s, &s->members[i], false, urgent);
        }
    } while (wait(s, &ready));
}

/* ---- life ---- */

/* Takes over the members that run. Only the very first supervisor of an epoch that was founded as a
 * whole starts what it finds without a process. */
static void adopt(struct supervisor *s, bool founds)
{
    const struct cluster *c = register_latest(&s->keeper.reg);
    struct keeping_process known[SUPERVISED_MAX];

    for (uint32_t i = 0; i < c->members_n; i++) {
        struct supervised m = {.node = c->members[i].node,
                               .incarnation = c->members[i].incarnation,
                               .process = node_process_find(s->folder.fd, c->members[i].node),
                               .link = {.fd = -1}};

        if (m.process.state != NODE_ALIVE) {
            m.process.state = NODE_DEAD;
        }
        if (m.process.state == NODE_ALIVE || !founds) {
            s->members[s->n++] = m;
        }
    }
    if (!founds) {
        keeping_adopt(&s->keeper.reg, known, processes(s, known));
    }
}

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
    char ca[PATH_MAX + 32], cert[PATH_MAX + 32], key[PATH_MAX + 32];
    sigset_t set;

    TRY(cluster_dir_look(dir, &s->folder, why));
    TRY(keeper_open(&s->keeper, &s->folder, why));
    TRY(cluster_dir_ca(&s->folder, &s->ca, why));
    (void)snprintf(ca, sizeof(ca), "%s/ca/ca.crt", s->folder.path);
    (void)snprintf(cert, sizeof(cert), "%s/client.crt", s->folder.path);
    (void)snprintf(key, sizeof(key), "%s/client.key", s->folder.path);
    TRY(identity_from_files(ca, cert, key, (uint64_t)time(NULL), &s->owner, why));
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (getrandom(s->boot, sizeof(s->boot), 0) != (ssize_t)sizeof(s->boot) || s->signals < 0 ||
        !open_socket(s)) {
        (void)snprintf(why->text, sizeof(why->text), "cannot open sockets: %s", strerror(errno));
        return ERR_IO;
    }
    return OK;
}

int cmd_supervise(struct cli *c, int argc, char **argv)
{
    struct supervisor *s = calloc(1, sizeof(*s));
    const char *dir = cli_default_dir, *restart = "yes", *io = "udp";
    bool founds = false;
    struct explain why = {{0}};
    int rest, code = CLI_UNAVAILABLE;
    enum err err;

    if (s == NULL) {
        return cli_fail_status(c, AVO_NO_MEMORY, NULL);
    }
    s->folder.fd = s->signals = s->socket = -1;
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &dir, 0, 0,
         NULL},
        {"restart", "yes|no", "start members again that end (default yes)", OPTION_TEXT, &restart,
         0, 0, NULL},
        {"found", NULL, "the configuration is new: start all its members", OPTION_FLAG, &founds, 0,
         0, NULL},
        {"io", "KIND", "of members: udp, ring or dpdk", OPTION_TEXT, &io, 0, 0, NULL},
        {"poll", "KIND", "for avocadod", OPTION_TEXT, &s->poll, 0, 0, NULL},
        {"arena-dir", "DIR", "for avocadod", OPTION_TEXT, &s->arena_dir, 0, 0, NULL},
        {"memory", "KIND", "for avocadod", OPTION_TEXT, &s->memory, 0, 0, NULL},
        {0},
    };
    if (cli_parse(c, &(struct cli_line){"supervise", specs, 0, 0}, argc, argv, &rest, &code)) {
        s->restarts = strcmp(restart, "no") != 0;
        s->is_split = strcmp(io, "ring") == 0;
        s->is_dpdk = strcmp(io, "dpdk") == 0;
        err = open_all(s, dir, &why);
        if (err != OK) {
            code = cli_fail(c, CLI_UNAVAILABLE, err_name(err), "%s", why.text);
        } else if (!cli_find_program("avocadod", s->program) ||
                   (s->is_split && !cli_find_program("avocado-hostd", s->hostd))) {
            code = cli_fail(c, CLI_UNAVAILABLE, "NO_PROGRAM",
                            "avocadod or avocado-hostd is not beside this program");
        } else {
            s->now_ms = cli_now_ms();
            adopt(s, founds);
            run(s);
            node_log("info", "stopping; the members serve on");
            (void)unlinkat(s->folder.fd, "run/supervisor.sock", 0);
            code = CLI_OK;
        }
    }
    while (s->n > 0) {
        forget(s, &s->members[0]);
    }
    keeper_close(&s->keeper);
    pki_pair_free(&s->ca);
    identity_free(s->owner);
    cluster_dir_close(&s->folder);
    free(s);
    return code;
}
