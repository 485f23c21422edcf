// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include "client/calls.h"
#include "client/status.h"
#include "trusted/config/explain.h"
#include "trusted/crypto/entropy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const uint64_t MS = UINT64_C(1000000);

enum {
    TIMEOUT_MS_DEFAULT = 5000,
    IN_FLIGHT_DEFAULT = 1024,
    CONNECT_MS_MAX = 600000,
    FLUSH_AT = 64, /* submissions that share datagrams before avo_submit sends by itself */
};

/* ---- open and close ---- */

static enum avo_status check_options(const struct avo_options *o, struct avo_options *ret,
                                     struct explain *why)
{
    struct avo_options k = o == NULL ? (struct avo_options){0} : *o;

    for (size_t i = 0; i < sizeof(k.reserved) / sizeof(k.reserved[0]); i++) {
        if (k.reserved[i] != 0) {
            explain(why, "options: reserved[%zu] is not zero; start from an all-zero struct", i);
            return AVO_USAGE;
        }
    }
    if (k.timeout_ms > CLIENT_TIMEOUT_MS_MAX) {
        explain(why, "options: timeout_ms is %u; the most is %u", k.timeout_ms,
                (unsigned)CLIENT_TIMEOUT_MS_MAX);
        return AVO_USAGE;
    }
    if (k.connect_ms > CONNECT_MS_MAX) {
        explain(why, "options: connect_ms is %u; the most is %u", k.connect_ms,
                (unsigned)CONNECT_MS_MAX);
        return AVO_USAGE;
    }
    if (k.in_flight_max > CORE_IN_FLIGHT_MAX) {
        explain(why, "options: in_flight_max is %u; the most is %u", k.in_flight_max,
                (unsigned)CORE_IN_FLIGHT_MAX);
        return AVO_USAGE;
    }
    k.timeout_ms = k.timeout_ms == 0 ? TIMEOUT_MS_DEFAULT : k.timeout_ms;
    k.connect_ms = k.connect_ms == 0 ? TIMEOUT_MS_DEFAULT : k.connect_ms;
    k.in_flight_max = k.in_flight_max == 0 ? IN_FLIGHT_DEFAULT : k.in_flight_max;
    *ret = k;
    return AVO_OK;
}

static enum avo_status open_files(struct avo_client *c, const char *path, struct explain *why)
{
    enum err err = profile_load(path, &c->profile, why);

    if (err == OK) {
        err = client_load_identity(c, why);
    }
    if (err != OK) {
        return status_of(err);
    }
    if (c->options.coordinator > c->profile.members_n) {
        explain(why, "options: coordinator is %u, but %s names %u members", c->options.coordinator,
                path, c->profile.members_n);
        return AVO_USAGE;
    }
    return AVO_OK;
}

static bool add_event(int epoll, int fd, uint32_t who)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = who};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

static enum avo_status open_system(struct avo_client *c, struct explain *why)
{
    bool is_v6 = false;

    for (uint32_t i = 0; i < c->profile.members_n; i++) {
        is_v6 = is_v6 || c->profile.members[i].host.family == 6;
        link_init(&c->links[i], i);
    }
    entropy_fill(&c->env.prng.state, sizeof(c->env.prng.state));
    entropy_fill(c->env.boot, sizeof(c->env.boot));
    c->env.identity = c->identity;
    c->env.profile = &c->profile;
    c->timer_at_ns = UINT64_MAX;
    c->watch = calloc(1, sizeof(*c->watch));
    c->aead = aead_open_impl(aead_best());
    c->courtesy.gap_ns = COURTESY_GAP_MAX_NS;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    c->env.epoll = c->epoll;
    if (c->watch == NULL || c->aead == NULL) {
        explain(why, "this process is out of memory");
        return AVO_NO_MEMORY;
    }
    if (c->epoll < 0 || c->timer < 0 || net_open(is_v6, &c->net) != OK ||
        !add_event(c->epoll, c->net->fd, CLIENT_EVENT_NET) ||
        !add_event(c->epoll, c->timer, CLIENT_EVENT_TIMER)) {
        explain(why, "this process cannot open its sockets: %s", strerror(errno));
        return AVO_NO_MEMORY;
    }
    return AVO_OK;
}

static bool is_refused(const struct link *l)
{
    return l->err == ERR_AUTH || l->err == ERR_POLICY;
}

/* How many nodes were reached and said no, or showed a certificate that is not theirs. */
static uint32_t refusals(const struct avo_client *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->profile.members_n; i++) {
        n += is_refused(&c->links[i]) ? 1 : 0;
    }
    return n;
}

/* The failure to tell about: a refusal says more than a silence. */
static const char *first_why(const struct avo_client *c)
{
    const char *why = NULL;

    for (uint32_t i = 0; i < c->profile.members_n; i++) {
        const struct link *l = &c->links[i];

        if (is_refused(l)) {
            return l->why.text;
        }
        if (l->err != OK && why == NULL) {
            why = l->why.text;
        }
    }
    return why == NULL ? "no answer" : why;
}

static enum avo_status connect_first(struct avo_client *c, struct explain *why)
{
    uint64_t until_ns = client_now_ns() + c->options.connect_ms * MS;

    for (;;) {
        uint64_t now_ns = client_now_ns();

        client_serve(c, now_ns);
        if (c->core != NULL && core_sessions_up(c->core) > 0 && c->map_epoch != 0) {
            return AVO_OK;
        }
        if (refusals(c) == c->profile.members_n || (refusals(c) > 0 && now_ns >= until_ns)) {
            explain(why, "%s; compare the identity in the client's files with the cluster",
                    first_why(c));
            return AVO_REFUSED;
        }
        if (now_ns >= until_ns) {
            explain(why,
                    "none of the %u nodes of cluster '%s' answered within %u ms (%s); is it "
                    "running?",
                    c->profile.members_n, c->profile.name, c->options.connect_ms, first_why(c));
            return AVO_UNAVAILABLE;
        }
        client_wait(c, now_ns, until_ns);
    }
}

AVO_API enum avo_status avo_open(const char *path, const struct avo_options *options,
                                 struct avo_client **ret_client, char *why, size_t why_size)
{
    struct explain line = {0};
    struct avo_client *c = NULL;
    enum avo_status status = AVO_USAGE;

    if (ret_client == NULL) {
        return AVO_USAGE;
    }
    *ret_client = NULL;
    if (path == NULL) {
        explain(&line, "the path of client.yaml is NULL");
        goto out;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        explain(&line, "this process is out of memory");
        status = AVO_NO_MEMORY;
        goto out;
    }
    c->epoll = -1;
    c->timer = -1;
    for (uint32_t i = 0; i < CLUSTER_MAX; i++) {
        link_init(&c->links[i], i);
    }
    status = check_options(options, &c->options, &line);
    if (status == AVO_OK) {
        status = open_files(c, path, &line);
    }
    if (status == AVO_OK) {
        status = open_system(c, &line);
    }
    if (status == AVO_OK) {
        status = connect_first(c, &line);
    }
out:
    if (why != NULL && why_size > 0) {
        (void)snprintf(why, why_size, "%s", line.text);
    }
    if (status != AVO_OK) {
        avo_close(c);
        return status;
    }
    *ret_client = c;
    return AVO_OK;
}

AVO_API void avo_close(struct avo_client *c)
{
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; c->core != NULL && i < c->profile.members_n; i++) {
        core_node_down(c->core, client_now_ns(), i, true);
        client_transmit(c, client_now_ns());
    }
    for (uint32_t i = 0; i < CLUSTER_MAX; i++) {
        link_leave(&c->links[i], &c->env, OK, "the client closes");
        link_fini(&c->links[i]);
    }
    core_fini(c->core);
    client_calls_fini(c);
    heap_fini(c->heap);
    if (c->region != NULL) {
        (void)munmap(c->region, c->region_bytes);
    }
    net_close(c->net);
    if (c->epoll >= 0) {
        (void)close(c->epoll);
    }
    if (c->timer >= 0) {
        (void)close(c->timer);
    }
    aead_close_impl(c->aead);
    identity_free(c->identity);
    free(c->watch);
    free(c);
}

/* ---- telling why ---- */

static enum avo_op op_of(const struct core_completion *done)
{
    return done->op == CLIENT_RMW ? (enum avo_op)((int)AVO_CAS + (int)done->rmw - 1)
                                  : (enum avo_op)done->op;
}

static void explain_status(struct avo_client *c, const struct core_completion *done)
{
    enum avo_status status = status_of(done->status);
    const char *op = status_op_name(op_of(done));

    if (status == AVO_UNAVAILABLE && core_sessions_up(c->core) == 0) {
        (void)snprintf(c->last_error, sizeof(c->last_error), "%s: %s: %s", op,
                       avo_status_text(status), first_why(c));
    } else if (done->lacks != 0) {
        client_refuse_lacking(c, op, done->lacks);
    } else if (done->cause != OK) {
        (void)snprintf(c->last_error, sizeof(c->last_error), "%s: %s (%s)", op,
                       avo_status_text(status), err_text(done->cause));
    } else {
        (void)snprintf(c->last_error, sizeof(c->last_error), "%s: %s", op, avo_status_text(status));
    }
}

enum avo_status client_refuse(struct avo_client *c, enum avo_status status, const char *what)
{
    (void)snprintf(c->last_error, sizeof(c->last_error), "%s", what);
    return status;
}

enum avo_status client_refuse_big(struct avo_client *c)
{
    return client_refuse(c, AVO_TOO_BIG,
                         "a key has 1024 bytes at most, and a value as many as value_max of the "
                         "cluster's configuration (`avocado up --value-max`)");
}

void client_refuse_lacking(struct avo_client *c, const char *op, unsigned lacks)
{
    char rights[ACCESS_RIGHTS_TEXT];

    access_rights_format(lacks & ACCESS_RIGHTS, rights);
    (void)snprintf(c->last_error, sizeof(c->last_error),
                   "%s: the rules of our certificate do not give the right %s here, nothing was "
                   "done; ask the cluster's owner for it",
                   op, rights);
}

AVO_API const char *avo_last_error(const struct avo_client *c)
{
    return c == NULL ? "" : c->last_error;
}

/* ---- asynchronous ---- */

enum avo_status client_submit(struct avo_client *c, const struct core_request *q)
{
    uint64_t now_ns = client_now_ns();
    enum err err = core_submit(c->core, now_ns, q);

    if (err == OK) {
        c->unsent++;
        if (c->unsent >= FLUSH_AT) {
            client_transmit(c, now_ns);
        }
        return AVO_OK;
    }
    if (err == ERR_BUSY) {
        return client_refuse(c, AVO_BUSY,
                             "as many operations are in flight as in_flight_max permits");
    }
    if (err == ERR_TOO_BIG) {
        return client_refuse_big(c);
    }
    if (err == ERR_FULL) {
        return client_refuse(c, AVO_NO_MEMORY,
                             "the client's memory for operations in flight is used up");
    }
    return client_refuse(c, AVO_USAGE,
                         "not an operation, an empty key, or a value where none belongs");
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters are what the API agreed on */
AVO_API enum avo_status avo_submit(struct avo_client *c, enum avo_op op, const void *key,
                                   size_t key_len, const void *value, size_t value_len,
                                   uint64_t user)
{
    struct core_request q;

    if (c == NULL) {
        return AVO_USAGE;
    }
    if ((key == NULL && key_len > 0) || (value == NULL && value_len > 0)) {
        return client_refuse(c, AVO_USAGE, "a NULL pointer with a length");
    }
    q = (struct core_request){
        .op = (enum client_op)op,
        .timeout_ms = c->options.timeout_ms,
        .user = user,
        .key = {.p = key, .n = key_len},
        .value = {.p = value, .n = value_len},
    };
    return client_submit(c, &q);
}

static size_t collect(struct avo_client *c, struct avo_completion *to, size_t max)
{
    struct core_completion done;
    size_t n = 0;

    while (n < max && core_take(c->core, &done)) {
        to[n++] = (struct avo_completion){
            .user = done.user,
            .op = op_of(&done),
            .status = status_of(done.status),
            .value = done.value.p,
            .value_len = done.value.n,
            .tag_ts = done.tag.ts,
            .tag_writer = done.tag.writer,
            .tag_rmwc = done.tag.rmwc,
        };
        if (done.status != OK && done.status != ERR_NOT_FOUND) {
            explain_status(c, &done);
        }
    }
    return n;
}

AVO_API size_t avo_poll(struct avo_client *c, struct avo_completion *to, size_t max, int timeout_ms)
{
    uint64_t now_ns;
    uint64_t until_ns;
    size_t n = 0;

    if (c == NULL || (to == NULL && max > 0)) {
        return 0;
    }
    now_ns = client_now_ns();
    until_ns = timeout_ms < 0 ? UINT64_MAX : now_ns + (uint64_t)timeout_ms * MS;
    core_release(c->core);
    for (;;) {
        client_serve(c, now_ns);
        client_calls_serve(c);
        n = collect(c, to, max);
        if (n > 0 || now_ns >= until_ns || (timeout_ms < 0 && avo_in_flight(c) == 0) ||
            (max == 0 && core_done(c->core) > 0)) {
            break;
        }
        client_wait(c, now_ns, until_ns);
        now_ns = client_now_ns();
    }
    client_arm(c, now_ns);
    return n;
}

AVO_API int avo_fd(const struct avo_client *c)
{
    if (c == NULL) {
        return -1;
    }
    c->watch->external = true;
    return c->epoll;
}

AVO_API int avo_next_ms(const struct avo_client *c)
{
    uint64_t at_ns, now_ns, ms;

    if (c == NULL) {
        return -1;
    }
    if (c->unsent > 0 || core_done(c->core) > 0 || core_done_batches(c->core) > 0) {
        return 0;
    }
    at_ns = client_deadline(c);
    if (at_ns == UINT64_MAX) {
        return -1;
    }
    now_ns = client_now_ns();
    ms = at_ns <= now_ns ? 0 : (at_ns - now_ns + MS - 1) / MS;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

AVO_API size_t avo_in_flight(const struct avo_client *c)
{
    return c == NULL ? 0 : core_in_flight(c->core) - c->calls_n;
}

/* ---- blocking ---- */

struct question {
    enum avo_op op;
    struct bytes key, value;
};

bool client_is_busy(struct avo_client *c)
{
    if (avo_in_flight(c) == 0) {
        return false;
    }
    (void)client_refuse(c, AVO_USAGE, "a blocking call while operations are in flight");
    return true;
}

/* One operation from start to end. The core ends it at its deadline, so this ends too. */
static enum avo_status ask(struct avo_client *c, const struct question *q,
                           struct avo_completion *ret)
{
    enum avo_status status;

    if (c == NULL || client_is_busy(c)) {
        return AVO_USAGE;
    }
    status = avo_submit(c, q->op, q->key.p, q->key.n, q->value.p, q->value.n, 0);
    if (status != AVO_OK) {
        return status;
    }
    while (avo_poll(c, ret, 1, -1) == 0) {
    }
    return ret->status;
}

AVO_API enum avo_status avo_get(struct avo_client *c, const void *key, size_t key_len,
                                void **ret_value, size_t *ret_value_len)
{
    struct question q = {.op = AVO_GET, .key = {.p = key, .n = key_len}};
    struct avo_completion done;
    enum avo_status status;
    char *copy;

    if (ret_value == NULL || ret_value_len == NULL) {
        return AVO_USAGE;
    }
    status = ask(c, &q, &done);
    if (status != AVO_OK) {
        return status;
    }
    copy = malloc(done.value_len + 1);
    if (copy == NULL) {
        return client_refuse(c, AVO_NO_MEMORY, "this process is out of memory");
    }
    if (done.value_len > 0) {
        memcpy(copy, done.value, done.value_len);
    }
    copy[done.value_len] = '\0';
    *ret_value = copy;
    *ret_value_len = done.value_len;
    return AVO_OK;
}

AVO_API enum avo_status avo_put(struct avo_client *c, const void *key, size_t key_len,
                                const void *value, size_t value_len)
{
    struct question q = {
        .op = AVO_PUT, .key = {.p = key, .n = key_len}, .value = {.p = value, .n = value_len}};
    struct avo_completion done;

    return ask(c, &q, &done);
}

AVO_API enum avo_status avo_delete(struct avo_client *c, const void *key, size_t key_len)
{
    struct question q = {.op = AVO_DELETE, .key = {.p = key, .n = key_len}};
    struct avo_completion done;

    return ask(c, &q, &done);
}

/* ---- cluster state ---- */

AVO_API size_t avo_nodes(const struct avo_client *c)
{
    return c == NULL ? 0 : c->profile.members_n;
}

/* Waits for the link to stand, asks once, waits for the answer. */
static enum avo_status report_of(struct avo_client *c, struct link *l, uint64_t until_ns,
                                 char **ret_json, struct explain *why)
{
    static const char no[] = CONTROL_REPORT_REFUSED;
    bool asked = false;

    for (;;) {
        uint64_t now_ns = client_now_ns();
        const char *text;
        size_t n = 0;

        client_serve(c, now_ns);
        asked = asked && l->wants_report; /* the connection may have been replaced meanwhile */
        if (!asked && l->state == LINK_STANDING) {
            asked = link_ask_report(l, &c->env, now_ns) == OK;
        }
        text = link_report(l, &n);
        if (text != NULL && n == sizeof(no) - 1 && memcmp(text, no, n) == 0) {
            explain(why, "the rules of our certificate do not give the right status");
            return AVO_REFUSED;
        }
        if (text != NULL) {
            *ret_json = strndup(text, n);
            return *ret_json == NULL ? AVO_NO_MEMORY : AVO_OK;
        }
        if (now_ns >= until_ns) {
            explain(why, "%s",
                    l->state == LINK_STANDING || l->err == OK ? "the node does not answer"
                                                              : l->why.text);
            return AVO_UNAVAILABLE;
        }
        client_wait(c, now_ns, until_ns);
        c->links_at_ns = 0;
    }
}

AVO_API enum avo_status avo_node_report(struct avo_client *c, size_t place, int timeout_ms,
                                        char **ret_json, char *why, size_t why_size)
{
    struct explain line = {0};
    enum avo_status status = AVO_USAGE;

    if (c == NULL || ret_json == NULL || place >= c->profile.members_n) {
        explain(&line, "no such node");
    } else {
        uint64_t ms = timeout_ms < 0 ? c->options.timeout_ms : (uint64_t)timeout_ms;

        status = report_of(c, &c->links[place], client_now_ns() + ms * MS, ret_json, &line);
        client_arm(c, client_now_ns());
    }
    if (why != NULL && why_size > 0) {
        (void)snprintf(why, why_size, "%s", line.text);
    }
    return status;
}
