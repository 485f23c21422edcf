// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/dialer.h"

#include "common/check.h"
#include "trusted/config/explain.h"
#include "trusted/control/frames.h"

#include <openssl/crypto.h>

#include <stdlib.h>

enum { CHUNK = 4096 };

enum phase {
    PHASE_HANDSHAKE = 1, /* TLS is under way */
    PHASE_HELLO,         /* HELLO is sent */
    PHASE_READY,         /* WELCOME has come */
};

struct dialer {
    struct dialer_config c;
    struct tls *tls;
    struct frames frames;
    enum phase phase;
    enum err over; /* OK while the connection lives */
    struct control_message welcome;
    bool is_asked;    /* a report is due */
    bool is_reported; /* `report` has not been handed out yet */
    char *report;     /* heap, zero-terminated */
    size_t report_n;
    bool has_config; /* `config` has not been handed out yet */
    uint8_t *config; /* heap: signature, then text */
    size_t config_n, config_sig_n;
};

RESULT dialer_open(const struct dialer_config *c, struct dialer **ret)
{
    struct dialer *d = calloc(1, sizeof(*d));
    enum err err = OK;

    CHECK(c->shards_n >= 1 && c->shards_n <= SHARDS_MAX);
    if (d == NULL) {
        return ERR_IO;
    }
    d->c = *c;
    d->phase = PHASE_HANDSHAKE;
    err = tls_open(c->self, false, &d->tls);
    if (err != OK) {
        free(d);
        return err;
    }
    if (c->now_s != 0) {
        tls_set_time(d->tls, c->now_s);
    }
    *ret = d;
    return OK;
}

void dialer_close(struct dialer *d)
{
    if (d != NULL) {
        tls_close(d->tls);
        frames_fini(&d->frames);
        free(d->report);
        free(d->config);
        OPENSSL_cleanse(d, sizeof(*d));
        free(d);
    }
}

/* CTL-3: is this who we meant to call? */
static enum err check_peer(const struct dialer *d, struct explain *why)
{
    const struct identity_name *peer = tls_peer(d->tls);

    if (memcmp(peer->cluster, d->c.cluster, sizeof(peer->cluster)) != 0) {
        explain(why, "the other end belongs to another cluster; correct the address or the "
                     "configuration");
        return ERR_POLICY;
    }
    if (peer->role != ROLE_REPLICA) {
        explain(why, "the other end is the client '%s' and no replica; correct the address",
                peer->client);
        return ERR_POLICY;
    }
    if (peer->node != d->c.node) {
        explain(why,
                "node %u answered where node %u should; correct the address or the "
                "configuration",
                peer->node, d->c.node);
        return ERR_POLICY;
    }
    /* A certificate says in which epoch its incarnation began. One that began after our epoch will
     * refuse us and send its configuration (CTL-13). */
    if (d->c.role == ROLE_REPLICA && peer->epoch > d->c.epoch) {
        return OK;
    }
    if (d->c.peer_incarnation != 0 && peer->incarnation != d->c.peer_incarnation) {
        explain(why,
                "node %u runs under incarnation %u, the configuration says %u; a restarted "
                "member must join as a new one",
                peer->node, peer->incarnation, d->c.peer_incarnation);
        return ERR_POLICY;
    }
    return OK;
}

static void tell_config(struct dialer *d)
{
    const struct control_message m = {
        .kind = CONTROL_CONFIG, .text = d->c.config, .sig = d->c.config_sig};

    if (d->c.config.n > 0) {
        (void)!frames_send(d->tls, &m); /* a broken connection shows itself soon */
    }
}

static enum err say_hello(struct dialer *d)
{
    struct control_message m = {
        .kind = CONTROL_HELLO,
        .version = CONTROL_VERSION,
        .role = d->c.role,
        .epoch = d->c.epoch,
        .incarnation = d->c.incarnation,
        .shards_n = (uint16_t)d->c.shards_n,
    };

    memcpy(m.boot, d->c.boot, sizeof(m.boot));
    memcpy(m.index, d->c.index, sizeof(m.index));
    tell_config(d);
    return frames_send(d->tls, &m);
}

/* The answer must agree with the answerer's certificate and with what we can hold. */
static enum err on_welcome(struct dialer *d, const struct control_message *m, struct explain *why)
{
    const struct identity_name *peer = tls_peer(d->tls);
    bool fits =
        d->c.role == ROLE_REPLICA ? m->shards_n == d->c.shards_n : m->shards_n <= d->c.shards_n;

    if (d->c.epoch != 0 && m->epoch != d->c.epoch) {
        explain(why,
                "node %u is of configuration epoch %llu, we are of epoch %llu; the older one "
                "needs the newer configuration",
                peer->node, (unsigned long long)m->epoch, (unsigned long long)d->c.epoch);
        return ERR_EPOCH;
    }
    if (m->epoch < peer->epoch || m->incarnation != peer->incarnation || !fits) {
        explain(why,
                "node %u says epoch %llu, incarnation %u, %u shards, which contradicts its "
                "certificate or the configuration",
                peer->node, (unsigned long long)m->epoch, m->incarnation, (unsigned)m->shards_n);
        return ERR_POLICY;
    }
    d->welcome = *m;
    d->phase = PHASE_READY;
    return OK;
}

static enum err on_report(struct dialer *d, struct bytes text, struct explain *why)
{
    char *report = malloc(text.n + 1);

    if (report == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    if (text.n > 0) {
        memcpy(report, text.p, text.n);
    }
    report[text.n] = '\0';
    free(d->report);
    d->report = report;
    d->report_n = text.n;
    d->is_asked = false;
    d->is_reported = true;
    return OK;
}

static enum err on_config(struct dialer *d, const struct control_message *m, struct explain *why)
{
    uint8_t *config = malloc(m->sig.n + m->text.n);

    if (config == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    memcpy(config, m->sig.p, m->sig.n);
    memcpy(config + m->sig.n, m->text.p, m->text.n);
    free(d->config);
    d->config = config;
    d->config_n = m->text.n;
    d->config_sig_n = m->sig.n;
    d->has_config = true;
    return OK;
}

static enum err on_message(struct dialer *d, const struct control_message *m, struct explain *why)
{
    if (m->kind == CONTROL_WELCOME && d->phase == PHASE_HELLO) {
        return on_welcome(d, m, why);
    }
    if (m->kind == CONTROL_REPORT && d->is_asked) {
        return on_report(d, m->text, why);
    }
    if (m->kind == CONTROL_CONFIG && d->phase != PHASE_HANDSHAKE) {
        return on_config(d, m, why);
    }
    if (m->kind == CONTROL_BYE) {
        explain(why, "node %u %s: %.*s (%s)", d->c.node,
                d->phase == PHASE_READY ? "ended the connection" : "refused us", (int)m->text.n,
                m->text.n == 0 ? "" : (const char *)m->text.p, err_name(m->err));
        return m->err == OK ? ERR_CLOSED : m->err;
    }
    explain(why, "node %u sent a message that it may not send now", d->c.node);
    return ERR_MALFORMED;
}

/* Whatever TLS has opened so far. */
static enum err read_messages(struct dialer *d, struct explain *why)
{
    bool have = true;

    while (have) {
        struct control_message m = {0};
        size_t max = d->is_asked ? CONTROL_MESSAGE_MAX : CONTROL_CONFIG_MAX;
        enum err err = frames_take(&d->frames, d->tls, max, &m, &have);

        if (err != OK) {
            explain(why,
                    err == ERR_MISMATCH
                        ? "node %u speaks another version of the control protocol; run the "
                          "same release on both ends"
                        : "node %u sent bytes that are no message",
                    d->c.node);
            return err;
        }
        if (have) {
            TRY(on_message(d, &m, why));
        }
    }
    return OK;
}

static enum err take(struct dialer *d, struct bytes in, struct explain *why)
{
    struct explain inner = {0};
    enum err tls_err = tls_input(d->tls, in, &inner), err;

    if (tls_ready(d->tls)) {
        if (d->phase == PHASE_HANDSHAKE && tls_err == OK) {
            err = check_peer(d, why);
            if (err != OK) {
                tell_config(d); /* if it is who we meant, in a former life: so that it stops */
                return err;
            }
            d->phase = PHASE_HELLO;
            TRY(say_hello(d));
        }
        /* A BYE may have come together with the end: it says more. */
        TRY(read_messages(d, why));
    }
    explain(why, "%s", inner.text);
    return tls_err;
}

RESULT dialer_input(struct dialer *d, struct bytes in, struct explain *why)
{
    if (d->over != OK) {
        explain(why, "the connection is over");
        return d->over;
    }
    while (in.n > 0) {
        size_t n = in.n < CHUNK ? in.n : CHUNK;

        d->over = take(d, (struct bytes){.p = in.p, .n = n}, why);
        if (d->over != OK) {
            return d->over;
        }
        in = (struct bytes){.p = in.p + n, .n = in.n - n};
    }
    return OK;
}

size_t dialer_output(struct dialer *d, struct mbytes to)
{
    return tls_output(d->tls, to);
}

void dialer_bye(struct dialer *d, enum err err, const char *text)
{
    struct control_message m = {
        .kind = CONTROL_BYE,
        .err = err,
        .text = {.p = (const uint8_t *)text, .n = strnlen(text, CONTROL_BYE_TEXT_MAX)},
    };

    if (d->over == OK) {
        if (tls_ready(d->tls)) {
            (void)!frames_send(d->tls, &m); /* nobody to tell if it fails */
        }
        d->over = ERR_CLOSED;
    }
}

bool dialer_ready(const struct dialer *d)
{
    return d->phase == PHASE_READY && d->over == OK;
}

const struct control_message *dialer_welcome(const struct dialer *d)
{
    CHECK(d->phase == PHASE_READY);
    return &d->welcome;
}

RESULT dialer_session(struct dialer *d, uint32_t shard, struct abi_addr host,
                      struct rpc_session_params *ret)
{
    bool is_replica = d->c.role == ROLE_REPLICA;
    struct rpc_session_params p = {
        .slots = is_replica ? RPC_SLOTS_PEER : RPC_SLOTS_CLIENT,
        .replay_bits = is_replica ? REPLAY_BITS_PEER : REPLAY_BITS_CLIENT,
        .addr = host,
    };
    struct tls_binding b = {.dialer_role = d->c.role, .shard = (uint16_t)shard};
    enum err err = OK;

    CHECK(dialer_ready(d) && shard < d->welcome.shards_n);
    b.epoch = d->welcome.epoch;
    b.dialer_incarnation = d->c.incarnation;
    b.acceptor_incarnation = d->welcome.incarnation;
    memcpy(b.cluster, d->c.cluster, sizeof(b.cluster));
    memcpy(b.dialer_boot, d->c.boot, sizeof(b.dialer_boot));
    memcpy(b.acceptor_boot, d->welcome.boot, sizeof(b.acceptor_boot));
    p.index = d->c.index[shard];
    p.peer_index = d->welcome.index[shard];
    p.addr.port = d->welcome.port[shard];
    err = tls_export(d->tls, &b, &p.send, &p.recv);
    if (err == OK) {
        *ret = p;
    }
    OPENSSL_cleanse(&p, sizeof(p));
    return err;
}

bool dialer_take_config(struct dialer *d, struct bytes *ret_text, struct bytes *ret_sig)
{
    if (!d->has_config) {
        return false;
    }
    d->has_config = false;
    *ret_sig = (struct bytes){d->config, d->config_sig_n};
    *ret_text = (struct bytes){d->config + d->config_sig_n, d->config_n};
    return true;
}

RESULT dialer_send_config(struct dialer *d, struct bytes text, struct bytes sig)
{
    if (!dialer_ready(d)) {
        return ERR_CLOSED;
    }
    return frames_send(d->tls,
                       &(struct control_message){.kind = CONTROL_CONFIG, .text = text, .sig = sig});
}

RESULT dialer_ask_report(struct dialer *d)
{
    if (!dialer_ready(d)) {
        return ERR_CLOSED;
    }
    if (d->is_asked) {
        return OK;
    }
    TRY(frames_send(d->tls, &(struct control_message){.kind = CONTROL_STATUS}));
    d->is_asked = true;
    return OK;
}

const char *dialer_report(struct dialer *d, size_t *ret_n)
{
    if (!d->is_reported) {
        return NULL;
    }
    d->is_reported = false;
    *ret_n = d->report_n;
    return d->report;
}
