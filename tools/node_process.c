// SPDX-License-Identifier: Apache-2.0
#include "tools/node_process.h"

#include "tools/cli.h"
#include "tools/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* In split mode a replica's process starts as this, and becomes the daemon at once. */
static const char host_name[] = "avocado-hostd";
static const char starter_name[] = "avocado"; /* what a child is until it executes the daemon */

/* The name of the program behind a number. */
static const char *name_of(uint32_t node)
{
    return node == NODE_SUPERVISOR ? "avocado" : "avocadod";
}

enum {
    IDENTITY_FD = 3, /* where the daemon finds the pipe */
    SMALL_FILE_MAX = 4096,
    LOG_MAX = 1 << 26,
    KILL_WAIT_MS = 5000,
};

struct record {
    int64_t pid;
    uint64_t start;
    char boot[40];
};

static void record_path(uint32_t node, char to[static 32])
{
    if (node == NODE_SUPERVISOR) {
        (void)snprintf(to, 32, "run/supervisor.pid");
    } else {
        (void)snprintf(to, 32, "run/node-%u.pid", node);
    }
}

static void log_path(uint32_t node, char to[static 32])
{
    if (node == NODE_SUPERVISOR) {
        (void)snprintf(to, 32, "log/supervisor.log");
    } else {
        (void)snprintf(to, 32, "log/node-%u.log", node);
    }
}

/* Start time of a process in clock ticks since boot; 0 when there is no such process. Field 22 of
 * stat, counted behind the name, which may hold spaces and parentheses. */
static uint64_t start_of(pid_t pid)
{
    char path[64];
    uint8_t *text;
    uint64_t start = 0;
    const char *p;
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (slurp_at(AT_FDCWD, path, SMALL_FILE_MAX, &text, &n) != SLURP_OK) {
        return 0;
    }
    p = strrchr((const char *)text, ')');
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    if (p != NULL) {
        start = strtoull(p + 1, NULL, 10);
    }
    free(text);
    return start;
}

static void boot_now(char to[static 40])
{
    uint8_t *text;
    size_t n;

    to[0] = '\0';
    if (slurp_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", SMALL_FILE_MAX, &text, &n) ==
        SLURP_OK) {
        (void)snprintf(to, 40, "%.*s", (int)strcspn((const char *)text, "\n"), (const char *)text);
        free(text);
    }
}

/* True if there is a record; one that does not read as such has pid 0. */
static bool record_read(int dir, uint32_t node, struct record *ret)
{
    struct record r = {0};
    char path[32], *end;
    uint8_t *text;
    size_t n;

    record_path(node, path);
    if (slurp_at(dir, path, SMALL_FILE_MAX, &text, &n) != SLURP_OK) {
        return false;
    }
    r.pid = strtoll((const char *)text, &end, 10);
    r.start = strtoull(end, &end, 10);
    (void)snprintf(r.boot, sizeof(r.boot), "%.*s", (int)strcspn(end + (*end == ' '), "\n"),
                   end + (*end == ' '));
    free(text);
    *ret = r.pid > 1 && r.pid <= INT32_MAX ? r : (struct record){0};
    return true;
}

/* A process that keeps others from looking into it still shows its name. */
static bool is_named_daemon(pid_t pid, const char *name)
{
    char path[64];
    uint8_t *text;
    bool is;
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    if (slurp_at(AT_FDCWD, path, SMALL_FILE_MAX, &text, &n) != SLURP_OK) {
        return false;
    }
    is = strncmp((const char *)text, name, strlen(name)) == 0 ||
         strncmp((const char *)text, host_name, strlen(host_name)) == 0;
    free(text);
    return is;
}

/* The program of a process has this name, even if the file has been replaced since. */
static bool is_daemon(pid_t pid, const char *name)
{
    static const char replaced[] = " (deleted)";
    char path[64], target[SMALL_FILE_MAX];
    const char *base;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0 && errno == EACCES) {
        return is_named_daemon(pid, name);
    }
    if (n <= 0) {
        return false;
    }
    target[n] = '\0';
    if ((size_t)n > strlen(replaced) && strcmp(target + n - strlen(replaced), replaced) == 0) {
        target[(size_t)n - strlen(replaced)] = '\0';
    }
    base = strrchr(target, '/');
    return base != NULL && (strcmp(base + 1, name) == 0 || strcmp(base + 1, host_name) == 0 ||
                            strcmp(base + 1, starter_name) == 0);
}

struct node_process node_process_find(int dir, uint32_t node)
{
    struct node_process p = {.state = NODE_DEAD, .pidfd = -1};
    struct record r = {0};
    char boot[40];

    if (!record_read(dir, node, &r)) {
        return (struct node_process){.state = NODE_NONE, .pidfd = -1};
    }
    boot_now(boot);
    p.pid = (pid_t)r.pid;
    if (p.pid == 0 || strcmp(boot, r.boot) != 0) {
        return p;
    }
    /* The handle first: what is then found to be ours stays what the handle means. A process that
     * has ended but was not yet reaped still has its start time, but no program. */
    p.pidfd = pidfd_open(p.pid, 0);
    if (p.pidfd >= 0 && start_of(p.pid) == r.start && is_daemon(p.pid, name_of(node))) {
        p.state = NODE_ALIVE;
        return p;
    }
    node_process_close(&p);
    return p;
}

void node_process_close(struct node_process *p)
{
    if (p->pidfd >= 0) {
        (void)close(p->pidfd);
        p->pidfd = -1;
    }
}

static bool record_write(int dir, uint32_t node)
{
    char path[32], text[128], boot[40];
    int n;

    record_path(node, path);
    boot_now(boot);
    n = snprintf(text, sizeof(text), "%d %" PRIu64 " %s\n", (int)getpid(), start_of(getpid()),
                 boot);
    return spit_at(&(struct spit){dir, 0600, true}, path, text, (size_t)n);
}

/* What the program is started with. */
struct words {
    char config[SMALL_FILE_MAX], ca[SMALL_FILE_MAX], node[16];
    char data_port[16], control_port[16], shards[16], mesh[SMALL_FILE_MAX];
    const char *argv[48];
    int argc;
};

static void add_word(struct words *w, const char *option, const char *value)
{
    if (value != NULL) {
        w->argv[w->argc++] = option;
        w->argv[w->argc++] = value;
    }
}

/* What makes avocado-hostd become the rest. */
static void find_host_words(const struct node_start *s, struct words *w)
{
    (void)snprintf(w->data_port, sizeof(w->data_port), "%u", (unsigned)s->member->data_port);
    (void)snprintf(w->control_port, sizeof(w->control_port), "%u",
                   (unsigned)s->member->control_port);
    (void)snprintf(w->shards, sizeof(w->shards), "%u", s->shards);
    w->argv[w->argc++] = host_name;
    add_word(w, "--address", s->member->address);
    add_word(w, "--data-port", w->data_port);
    add_word(w, "--control-port", w->control_port);
    add_word(w, "--shards", w->shards);
    add_word(w, "--poll", s->poll == NULL ? "adaptive" : s->poll);
    w->argv[w->argc++] = "--";
}

static void find_words(const struct node_start *s, struct words *w)
{
    (void)snprintf(w->config, sizeof(w->config), "%s/cluster.yaml", s->dir_path);
    (void)snprintf(w->ca, sizeof(w->ca), "%s/ca/ca.crt", s->dir_path);
    (void)snprintf(w->node, sizeof(w->node), "%u", s->node);
    w->argc = 0;
    if (s->hostd != NULL) {
        find_host_words(s, w);
        w->argv[w->argc++] = s->program;
    } else {
        w->argv[w->argc++] = name_of(s->node);
    }
    if (s->node == NODE_SUPERVISOR) {
        w->argv[w->argc++] = "supervise";
        add_word(w, "--dir", s->dir_path);
        add_word(w, "--restart", s->restart);
        add_word(w, "--io", s->io);
        if (s->founds) {
            w->argv[w->argc++] = "--found";
        }
    } else {
        add_word(w, "--config", w->config);
        add_word(w, "--ca", w->ca);
        add_word(w, "--node", w->node);
        add_word(w, "--identity-fd", "3");
        if (s->io != NULL) {
            (void)snprintf(w->mesh, sizeof(w->mesh), "%s/run", s->dir_path);
            add_word(w, "--io", s->io);
            add_word(w, "--dpdk-mesh", w->mesh);
        }
    }
    add_word(w, "--poll", s->poll);
    add_word(w, "--arena-dir", s->arena_dir);
    add_word(w, "--memory", s->memory);
    w->argv[w->argc] = NULL;
}

/* In the new process: never returns. It writes its own record before it becomes the daemon, so that
 * there is no instant at which a daemon runs unrecorded. */
__attribute__((noreturn)) static void become_daemon(const struct node_start *s, int identity)
{
    const char *program = s->hostd == NULL ? s->program : s->hostd;
    struct words w;
    char path[32];
    sigset_t none;
    int log, null;

    log_path(s->node, path);
    find_words(s, &w);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)signal(SIGPIPE, SIG_DFL);
    log = openat(s->dir, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (log < 0 || null < 0 || !record_write(s->dir, s->node)) {
        _exit(126);
    }
    /* Above the three that are about to be replaced, then into place without close-on-exec. */
    identity = fcntl(identity, F_DUPFD_CLOEXEC, 16);
    if (identity < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0 || dup2(identity, IDENTITY_FD) < 0 || chdir("/") != 0) {
        _exit(126);
    }
    (void)close_range(IDENTITY_FD + 1, ~0U, 0);
    (void)execv(program, (char *const *)(uintptr_t)w.argv);
    (void)dprintf(STDERR_FILENO, "cannot execute %s: %s\n", program, strerror(errno));
    _exit(127);
}

/* False when the reader is gone: it will be found dead. */
static bool hand_over(int fd, struct bytes text)
{
    while (text.n > 0) {
        ssize_t done = write(fd, text.p, text.n);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        text.p += done;
        text.n -= (size_t)done;
    }
    return true;
}

RESULT node_process_start(const struct node_start *s, struct node_process *ret, struct explain *why)
{
    struct node_process p = {.state = NODE_ALIVE, .pidfd = -1};
    int pipes[2];

    if (pipe2(pipes, O_CLOEXEC) != 0) {
        (void)snprintf(why->text, sizeof(why->text), "cannot make a pipe: %s", strerror(errno));
        return ERR_IO;
    }
    p.pid = fork();
    if (p.pid == 0) {
        become_daemon(s, pipes[0]);
    }
    (void)close(pipes[0]);
    if (p.pid > 0) {
        p.pidfd = pidfd_open(p.pid, 0);
        (void)hand_over(pipes[1], s->identity);
    }
    (void)close(pipes[1]);
    if (p.pid < 0 || p.pidfd < 0) {
        (void)snprintf(why->text, sizeof(why->text), "cannot start node %u: %s", s->node,
                       strerror(errno));
        return ERR_IO;
    }
    *ret = p;
    return OK;
}

void node_process_reaped(struct node_process *p)
{
    (void)waitpid(p->pid, NULL, WNOHANG); /* if it is our child; else init does it */
    node_process_close(p);
    p->state = NODE_DEAD;
}

static bool has_ended(struct node_process *p, int timeout_ms)
{
    struct pollfd f = {.fd = p->pidfd, .events = POLLIN};

    if (poll(&f, 1, timeout_ms) != 1) {
        return false;
    }
    (void)waitpid(p->pid, NULL, WNOHANG); /* if it is our child; else init does it */
    return true;
}

static void wait_all(struct node_process *processes, unsigned n, uint64_t until_ms)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t now = cli_now_ms();

        if (processes[i].state == NODE_ALIVE &&
            has_ended(&processes[i], now < until_ms ? (int)(until_ms - now) : 0)) {
            processes[i].state = NODE_NONE;
        }
    }
}

static unsigned signal_all(struct node_process *processes, unsigned n, int number)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < n; i++) {
        if (processes[i].state == NODE_ALIVE) {
            (void)pidfd_send_signal(processes[i].pidfd, number, NULL, 0);
            sent++;
        }
    }
    return sent;
}

unsigned node_process_stop(int dir, struct node_process *processes, const uint32_t *nodes,
                           unsigned n, uint64_t grace_ms)
{
    unsigned killed;

    (void)signal_all(processes, n, SIGTERM);
    /* One that was stopped by a signal would never see the first. */
    (void)signal_all(processes, n, SIGCONT);
    wait_all(processes, n, cli_now_ms() + grace_ms);
    killed = signal_all(processes, n, SIGKILL);
    wait_all(processes, n, cli_now_ms() + KILL_WAIT_MS);
    for (unsigned i = 0; i < n; i++) {
        char path[32];

        record_path(nodes[i], path);
        if (processes[i].state != NODE_ALIVE) {
            (void)unlinkat(dir, path, 0);
            processes[i].state = NODE_NONE;
        }
        node_process_close(&processes[i]);
    }
    return killed;
}

void node_process_last_words(int dir, uint32_t node, char *to, size_t size)
{
    char path[32];
    uint8_t *text;
    char *line;
    size_t n;

    to[0] = '\0';
    log_path(node, path);
    if (slurp_at(dir, path, LOG_MAX, &text, &n) != SLURP_OK) {
        return;
    }
    while (n > 0 && text[n - 1] == '\n') {
        text[--n] = '\0';
    }
    line = strrchr((char *)text, '\n');
    (void)snprintf(to, size, "%s", line == NULL ? (char *)text : line + 1);
    free(text);
}
