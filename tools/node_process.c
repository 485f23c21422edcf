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

/* Who is no node. */
static const struct special {
    uint32_t number;
    const char *name, *program, *title;
} specials[] = {{NODE_SUPERVISOR, "supervisor", "avocado", "the supervisor"},
                {UINT32_MAX, "cas", "avocado-cas", "the CAS"},
                {UINT32_MAX - 1, "las", "avocado-las", "the LAS"}};

static const struct special *special_of(uint32_t node)
{
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
        if (specials[i].number == node) {
            return &specials[i];
        }
    }
    return NULL;
}

/* The name of the program behind a number. */
static const char *name_of(uint32_t node)
{
    const struct special *s = special_of(node);

    return s == NULL ? "avocadod" : s->program;
}

const char *node_process_title(uint32_t node, char to[static 24])
{
    const struct special *s = special_of(node);

    if (s != NULL) {
        (void)snprintf(to, 24, "%s", s->title);
    } else {
        (void)snprintf(to, 24, "node %u", node);
    }
    return to;
}

enum {
    SMALL_FILE_MAX = 4096,
    LOG_MAX = 1 << 26,
    KILL_WAIT_MS = 5000,
};

struct record {
    int64_t pid;
    uint64_t start;
    char boot[40];
};

/* run/NAME.pid, log/NAME.log */
static void path_of(uint32_t node, const char *folder, const char *ending, char to[static 32])
{
    const struct special *s = special_of(node);

    if (s != NULL) {
        (void)snprintf(to, 32, "%s/%s.%s", folder, s->name, ending);
    } else {
        (void)snprintf(to, 32, "%s/node-%u.%s", folder, node, ending);
    }
}

static void record_path(uint32_t node, char to[static 32])
{
    path_of(node, "run", "pid", to);
}

static void log_path(uint32_t node, char to[static 32])
{
    path_of(node, "log", "log", to);
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

/* In the new process: never returns. It writes its own record before it becomes the daemon, so that
 * there is no instant at which a daemon runs unrecorded. */
__attribute__((noreturn)) static void become_daemon(const struct node_start *s)
{
    char path[32];
    sigset_t none;
    int log, null;

    log_path(s->node, path);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)signal(SIGPIPE, SIG_DFL);
    log = openat(s->dir, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (log < 0 || null < 0 || !record_write(s->dir, s->node) || fchdir(s->dir) != 0 ||
        dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0) {
        _exit(126);
    }
    (void)close_range(STDERR_FILENO + 1, ~0U, 0);
    (void)execv(s->program, (char *const *)(uintptr_t)s->argv);
    (void)dprintf(STDERR_FILENO, "cannot execute %s: %s\n", s->program, strerror(errno));
    _exit(127);
}

RESULT node_process_start(const struct node_start *s, struct node_process *ret, struct explain *why)
{
    struct node_process p = {.state = NODE_ALIVE, .pidfd = -1};
    char title[24];

    p.pid = fork();
    if (p.pid == 0) {
        become_daemon(s);
    }
    if (p.pid > 0) {
        p.pidfd = pidfd_open(p.pid, 0);
    }
    if (p.pid < 0 || p.pidfd < 0) {
        (void)snprintf(why->text, sizeof(why->text), "cannot start %s: %s",
                       node_process_title(s->node, title), strerror(errno));
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
