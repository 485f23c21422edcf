// SPDX-License-Identifier: Apache-2.0
#include "daemons/renewal.h"

#include "daemons/log.h"
#include "trusted/config/explain.h"
#include "trusted/port/port.h"

#include <openssl/x509.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 2000, PATH_MAX_LEN = 160, LOOK_MAX_S = 30, RETRY_MS = 500 };

enum { STACK_BYTES = 1 << 20, JOIN_PAUSE_US = 500 };

struct renewal {
    struct join from;
    pthread_t thread;
    void *stack;
    int fd;
    uint64_t renew_at_s;           /* by the clock that only goes forward */
    bool is_away;                  /* the CAS did not answer last time */
    bool has_looked;               /* we have had a list of names */
    uint64_t epoch;                /* of the configuration that we had last */
    struct renewal_standing tried; /* what we told last */

    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    bool stop;
    struct renewal_news news;
    struct renewal_standing standing; /* to be told */
};

static uint64_t now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

static void read_revoked(const json_t *list, struct control_revoked *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < json_array_size(list) && ret->n < CONTROL_REVOKED_MAX; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        if (name != NULL && strlen(name) <= NAME_MAX_LEN) {
            memcpy(ret->name[ret->n++], name, strlen(name) + 1);
        }
    }
}

void renewal_trust_free(struct renewal_trust *t)
{
    free(t->ca_pem);
    free(t->config);
    free(t->sig);
    *t = (struct renewal_trust){0};
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));

    return text == NULL ? "" : text;
}

static struct renewal_trust read_trust(const json_t *answer)
{
    const char *sig = text_of(answer, "signature");
    struct renewal_trust t = {.ca_pem = strdup(text_of(answer, "ca")),
                              .config = strdup(text_of(answer, "cluster"))};

    t.sig = evidence_unbase64(sig, strlen(sig), &t.sig_n);
    return t;
}

/* An identity with the answer that brought it, or names. */
static void publish(struct renewal *k, struct identity *identity, const json_t *answer,
                    const json_t *revoked)
{
    struct renewal_trust trust = {0}, former_trust = {0};
    struct identity *former = NULL;

    if (identity != NULL) {
        trust = read_trust(answer);
    }
    (void)pthread_mutex_lock(&k->lock);
    if (identity != NULL) {
        former = k->news.identity;
        former_trust = k->news.trust;
        k->news.identity = identity;
        k->news.trust = trust;
    }
    if (revoked != NULL) {
        k->news.has_revoked = true;
        read_revoked(revoked, &k->news.revoked);
    }
    (void)pthread_mutex_unlock(&k->lock);
    identity_free(former); /* renewed twice before anybody looked */
    renewal_trust_free(&former_trust);
    (void)eventfd_write(k->fd, 1);
}

/* The CAS that does not answer is worth one line, and one when it does again. */
static void note(struct renewal *k, enum err err, const struct explain *why)
{
    if (err == ERR_UNAVAILABLE) {
        if (!k->is_away) {
            node_log("warning", "%s; we serve on, certificates and revocations wait", why->text);
        }
        k->is_away = true;
        return;
    }
    if (k->is_away) {
        node_log("info", "the CAS answers again");
    }
    k->is_away = false;
    if (err != OK) {
        node_log("error", "%s", why->text);
    }
}

static enum err ask(const struct renewal *k, const struct prove_ask *with, json_t **ret,
                    struct explain *why)
{
    struct prove_options o = {.cas = k->from.cas, .timeout_ms = TIMEOUT_MS};
    struct prove_ask a = *with;

    o.cas.ca_pem = k->from.ca_pem;
    a.key = k->from.key;
    a.cert = k->from.cert;
    return prove_call(&o, &a, ret, why);
}

/* What is in every answer: who is revoked, and the configuration. */
static void take(struct renewal *k, const json_t *answer)
{
    uint64_t version = 0, epoch = (uint64_t)json_integer_value(json_object_get(answer, "epoch"));
    struct cluster_signed config = {0}, former;
    struct explain why = {{0}};

    join_read_state(answer, &version, k->from.state_mark);
    if (version != k->from.state_version || !k->has_looked) {
        k->has_looked = true;
        k->from.state_version = version;
        publish(k, NULL, NULL, json_object_get(answer, "revoked"));
    }
    if (epoch <= k->epoch || join_read_config(answer, &config, &why) != OK) {
        return;
    }
    k->epoch = epoch;
    (void)pthread_mutex_lock(&k->lock);
    former = k->news.config;
    k->news.config = config;
    (void)pthread_mutex_unlock(&k->lock);
    cluster_signed_free(&former);
    (void)eventfd_write(k->fd, 1);
}

/* What a look found. */
struct look {
    bool other_cas; /* the CAs that are trusted are other ones than we have, */
    bool changes;   /* or about to change */
    bool was_heard; /* the CAS answered */
};

/* A set of groups as the list of their numbers. */
static json_t *group_list(uint64_t groups)
{
    json_t *list = json_array();

    for (; groups != 0; groups &= groups - 1) {
        (void)json_array_append_new(list, json_integer(__builtin_ctzll(groups)));
    }
    return list;
}

/* Tells how far we are, and hears what is new: CAS-23, CAS-51. */
static struct look look(struct renewal *k)
{
    char path[PATH_MAX_LEN];
    struct prove_ask with = {.method = "GET", .path = path};
    struct explain why = {{0}};
    json_t *answer = NULL;
    struct look found = {0};
    enum err err;

    (void)pthread_mutex_lock(&k->lock);
    k->tried = k->standing;
    (void)pthread_mutex_unlock(&k->lock);
    if (k->tried.installed != 0) {
        with.method = "POST";
        with.body = json_pack("{s:I,s:o}", "installed", (json_int_t)k->tried.installed, "copied",
                              group_list(k->tried.copied));
    }
    (void)snprintf(path, sizeof(path), "/v1/%s?ca=%llu&seen=%llu&mark=%s",
                   k->tried.installed != 0 ? "report" : "config",
                   (unsigned long long)k->from.ca_step, (unsigned long long)k->from.state_version,
                   k->from.state_mark);
    err = ask(k, &with, &answer, &why);
    note(k, err, &why);
    found.was_heard = err != ERR_UNAVAILABLE;
    if (err == OK) {
        take(k, answer);
        found.other_cas =
            (uint64_t)json_integer_value(json_object_get(answer, "ca_step")) != k->from.ca_step;
        found.changes = json_is_true(json_object_get(answer, "ca_changes"));
        json_decref(answer);
    }
    return found;
}

/* Who answers as the CAS must be of a CA that it has told us of itself. */
static void trust_for_calls(struct renewal *k, const json_t *answer)
{
    char *pem = strdup(text_of(answer, "ca"));

    if (pem != NULL) {
        free(k->from.ca_pem);
        k->from.ca_pem = pem;
    }
}

/* A new key under the old name, and the CAs that are trusted now. */
static void renew(struct renewal *k)
{
    struct prove_ask with = {.method = "POST", .path = "/v1/renew"};
    struct explain why = {{0}};
    struct join next = {0};
    EVP_PKEY *key = NULL;
    X509 *self_signed = NULL;
    json_t *answer = NULL;
    enum err err = https_new_key(&key, &self_signed, &why);

    if (err == OK) {
        with.body = join_key_json(key);
        err = ask(k, &with, &answer, &why);
    }
    if (err == OK) {
        err = join_accept(answer, key, &next, &why);
    }
    note(k, err, &why);
    if (err == OK) {
        publish(k, next.identity, answer, NULL);
        trust_for_calls(k, answer);
        X509_free(k->from.cert);
        EVP_PKEY_free(k->from.key);
        k->from.cert = next.cert;
        k->from.key = key;
        k->from.ca_step = next.ca_step;
        k->renew_at_s = now_s() + next.renew_after_s;
        node_log("info", "our certificate is renewed, and again in %u s", next.renew_after_s);
        key = NULL;
    }
    json_decref(answer);
    X509_free(self_signed);
    EVP_PKEY_free(key);
}

static bool is_tried(const struct renewal *k)
{
    return k->standing.installed == k->tried.installed && k->standing.copied == k->tried.copied;
}

/* For so long, or until there is something new to report. True: stop. */
static bool wait_for_stop(struct renewal *k, uint64_t ms)
{
    struct timespec until;
    bool stop;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&k->lock);
    while (!k->stop && is_tried(k) &&
           pthread_cond_timedwait(&k->changed, &k->lock, &until) != ETIMEDOUT) {
    }
    stop = k->stop;
    (void)pthread_mutex_unlock(&k->lock);
    return stop;
}

static void *keep(void *arg)
{
    struct renewal *k = arg;
    uint64_t calm_s = k->from.look_s < 1            ? 1
                      : k->from.look_s > LOOK_MAX_S ? LOOK_MAX_S
                                                    : k->from.look_s;
    uint64_t period_s, left_s;
    struct look found;

    do {
        found = look(k);
        if (found.other_cas || now_s() >= k->renew_at_s) {
            renew(k);
            found = look(k); /* so that the CAS knows */
        }
        period_s = found.changes ? 1 : calm_s;
        left_s = k->renew_at_s > now_s() ? k->renew_at_s - now_s() : period_s;
        left_s = left_s < period_s ? left_s : period_s;
    } while (!wait_for_stop(k, found.was_heard ? left_s * 1000 : RETRY_MS));
    return NULL;
}

/* A new private key passes over it: the stack is of the kind that nobody else can read
 * (ISOLATION-3). */
static bool create(struct renewal *k)
{
    pthread_attr_t attr;
    bool good;

    k->stack = port_stack_map(STACK_BYTES);
    if (k->stack == NULL || pthread_attr_init(&attr) != 0) {
        return false;
    }
    good = pthread_attr_setstack(&attr, k->stack, STACK_BYTES) == 0 &&
           pthread_create(&k->thread, &attr, keep, k) == 0;
    (void)pthread_attr_destroy(&attr);
    return good;
}

static bool start_thread(struct renewal *k)
{
    pthread_condattr_t by_monotonic;
    sigset_t all, before;
    bool good;

    if (pthread_mutex_init(&k->lock, NULL) != 0 || pthread_condattr_init(&by_monotonic) != 0) {
        return false;
    }
    good = pthread_condattr_setclock(&by_monotonic, CLOCK_MONOTONIC) == 0 &&
           pthread_cond_init(&k->changed, &by_monotonic) == 0;
    (void)pthread_condattr_destroy(&by_monotonic);
    /* Signals are for the thread that serves. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    good = good && create(k);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}

static void renewal_free(struct renewal *k)
{
    if (k->stack != NULL) {
        port_stack_unmap(k->stack, STACK_BYTES);
    }
    if (k->fd >= 0) {
        (void)close(k->fd);
    }
    identity_free(k->news.identity);
    renewal_trust_free(&k->news.trust);
    cluster_signed_free(&k->news.config);
    join_free(&k->from);
    free(k);
}

RESULT renewal_start(struct join *from, const struct https_via *via, struct renewal **ret,
                     struct explain *why)
{
    struct renewal *k = calloc(1, sizeof(*k));

    if (k == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    k->from = *from;
    k->from.identity = NULL;
    k->from.config = (struct cluster_signed){0};
    k->from.cas.via = via;
    k->epoch = from->cluster.epoch;
    *from =
        (struct join){.identity = from->identity, .cluster = from->cluster, .config = from->config};
    k->renew_at_s = now_s() + k->from.renew_after_s;
    if (via != NULL && https_peer_resolve(&k->from.cas, why) != OK) {
        k->fd = -1;
        renewal_free(k);
        return ERR_IO;
    }
    k->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (k->fd < 0 || !start_thread(k)) {
        explain(why, "no thread to be had for the renewal of our certificate");
        renewal_free(k);
        return ERR_IO;
    }
    *ret = k;
    return OK;
}

int renewal_fd(const struct renewal *k)
{
    return k->fd;
}

void renewal_take(struct renewal *k, struct renewal_news *ret)
{
    eventfd_t n;

    (void)eventfd_read(k->fd, &n);
    (void)pthread_mutex_lock(&k->lock);
    *ret = k->news;
    k->news.identity = NULL;
    k->news.trust = (struct renewal_trust){0};
    k->news.has_revoked = false;
    k->news.config = (struct cluster_signed){0};
    (void)pthread_mutex_unlock(&k->lock);
}

void renewal_report(struct renewal *k, const struct renewal_standing *now)
{
    (void)pthread_mutex_lock(&k->lock);
    k->standing = *now;
    (void)pthread_cond_signal(&k->changed);
    (void)pthread_mutex_unlock(&k->lock);
}

void renewal_stop(struct renewal *k)
{
    if (k == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&k->lock);
    k->stop = true;
    (void)pthread_cond_signal(&k->changed);
    (void)pthread_mutex_unlock(&k->lock);
    /* pthread_join would wait on a word in the thread's stack (host/run/shard_loop.c). */
    while (pthread_tryjoin_np(k->thread, NULL) == EBUSY) {
        (void)usleep(JOIN_PAUSE_US);
    }
    (void)pthread_cond_destroy(&k->changed);
    (void)pthread_mutex_destroy(&k->lock);
    renewal_free(k);
}
