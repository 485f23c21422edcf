// SPDX-License-Identifier: Apache-2.0
#include "daemons/cas_http.h"

#include "daemons/cas_conns.h"
#include "daemons/log.h"
#include "trusted/config/explain.h"
#include "trusted/https/https.h"

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    HEAD_MAX = 8 << 10,
    IDLE_S = 30,
    EVIDENCE_LIFE_S = 60,     /* of evidence that nobody asked a nonce for */
    EVIDENCE_PAUSE_MS = 50,   /* between two with a nonce: hardware is slow */
    IDENTITY_RENEW_S = 86400, /* certificates hold 30 days */
};

struct cas_http {
    struct cas *cas;
    struct event_base *base;
    struct evhttp *http;
    struct cas_conns *conns;
    struct event *on_term, *on_int, *on_renew;
    SSL_CTX *tls;
    uint64_t ca_step; /* of the CA that issued our certificate */
    uint8_t key_hash[EVIDENCE_KEY_HASH_LEN];
    struct evidence_source evidence;
    bool has_evidence;
    json_t *cached; /* evidence over a nonce of zeros */
    uint64_t cached_at_s, asked_at_ms;
};

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- TLS ---- */

/* Certificates here only show a key; who is behind it is judged with the request. */
static int take_any(int preverified, X509_STORE_CTX *ctx)
{
    (void)preverified;
    (void)ctx;
    return 1;
}

static enum err make_tls(struct cas_http *h, struct explain *why)
{
    struct pki_pair own = {0};
    SSL_CTX *tls = NULL;
    BIO *cert_bio = NULL, *key_bio = NULL;
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    bool good = false;

    TRY(cas_identity(h->cas, now_s(), &own, why));
    cert_bio = BIO_new_mem_buf(own.cert_pem, -1);
    key_bio = BIO_new_mem_buf(own.key_pem, -1);
    cert = cert_bio == NULL ? NULL : PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    key = key_bio == NULL ? NULL : PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    tls = SSL_CTX_new(TLS_server_method());
    good = cert != NULL && key != NULL && tls != NULL &&
           SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) == 1 &&
           SSL_CTX_use_certificate(tls, cert) == 1 && SSL_CTX_use_PrivateKey(tls, key) == 1 &&
           SSL_CTX_set_num_tickets(tls, 0) == 1 && https_key_hash(cert, h->key_hash) == OK;
    if (good) {
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, take_any);
        SSL_CTX_set_max_cert_list(tls, HEAD_MAX);
        SSL_CTX_free(h->tls); /* connections keep their own reference */
        h->tls = tls;
        h->ca_step = cas_ca_step(h->cas);
    } else {
        SSL_CTX_free(tls);
        explain(why, "TLS cannot be set up");
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    pki_pair_free(&own);
    ERR_clear_error();
    return good ? OK : ERR_IO;
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct cas_http *h = arg;

    return cas_conns_add(h->conns, base, SSL_new(h->tls));
}

static void on_renew(evutil_socket_t fd, short what, void *arg)
{
    struct explain why = {0};
    struct cas_http *h = arg;

    (void)fd;
    (void)what;
    if (make_tls(h, &why) != OK) {
        node_log("error", "our certificate cannot be renewed: %s", why.text);
        return;
    }
    json_decref(h->cached);
    h->cached = NULL;
}

/* ---- requests ---- */

static void reply(struct evhttp_request *r, unsigned status, json_t *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(r);
    struct evbuffer *out = evhttp_request_get_output_buffer(r);
    char *text = json_dumps(body, JSON_COMPACT);

    (void)evhttp_add_header(headers, "Content-Type", "application/json");
    (void)evhttp_add_header(headers, "Cache-Control", "no-store");
    if (text == NULL || evbuffer_add_printf(out, "%s\n", text) < 0) {
        status = 503;
    }
    if (text != NULL) {
        OPENSSL_cleanse(text, strlen(text)); /* may hold secrets */
    }
    free(text);
    evhttp_send_reply(r, (int)status, NULL, out);
}

static void reply_error(struct evhttp_request *r, unsigned status, const char *code,
                        const char *text)
{
    json_t *body = json_pack("{s:{s:s,s:s}}", "error", "code", code, "message", text);

    reply(r, status, body);
    json_decref(body);
}

static json_t *make_evidence(struct cas_http *h, const uint8_t nonce[static EVIDENCE_NONCE_LEN],
                             struct explain *why)
{
    struct evidence_binding binding = {0};
    uint8_t data[EVIDENCE_REPORT_DATA_LEN];
    struct evidence e = {0};
    json_t *body = NULL;

    memcpy(binding.key_hash, h->key_hash, sizeof(binding.key_hash));
    memcpy(binding.nonce, nonce, sizeof(binding.nonce));
    evidence_report_data(&binding, data);
    if (evidence_make(&h->evidence, data, &e, why) != OK) {
        return NULL;
    }
    body = json_pack("{s:o,s:s}", "evidence", evidence_to_json(&e), "ca", cas_ca_pem(h->cas));
    evidence_free(&e);
    if (body == NULL) {
        explain(why, "out of memory");
    }
    return body;
}

static bool read_nonce(const char *query, uint8_t ret[static EVIDENCE_NONCE_LEN])
{
    static const char digits[] = "0123456789abcdef", name[] = "nonce=";

    if (strncmp(query, name, sizeof(name) - 1) != 0 ||
        strlen(query) != sizeof(name) - 1 + (size_t)2 * EVIDENCE_NONCE_LEN) {
        return false;
    }
    query += sizeof(name) - 1;
    for (size_t i = 0; i < (size_t)2 * EVIDENCE_NONCE_LEN; i++) {
        const char *at = strchr(digits, query[i]);

        if (at == NULL) {
            return false;
        }
        ret[i / 2] = (uint8_t)(ret[i / 2] << 4 | (at - digits));
    }
    return true;
}

/* CAS-2: evidence of ourselves at one URL; fresh for whoever sends a nonce. */
static void on_evidence(struct cas_http *h, struct evhttp_request *r, const char *query)
{
    uint8_t nonce[EVIDENCE_NONCE_LEN] = {0};
    struct explain why = {0};
    json_t *body = NULL;

    if (!h->has_evidence) {
        reply_error(r, 404, "NO_EVIDENCE",
                    "this CAS was started without --evidence; trust its CA "
                    "instead");
        return;
    }
    if (query[0] == '\0') {
        if (h->cached == NULL || now_s() > h->cached_at_s + EVIDENCE_LIFE_S) {
            json_decref(h->cached);
            h->cached = make_evidence(h, nonce, &why);
            h->cached_at_s = now_s();
        }
        body = json_incref(h->cached);
    } else if (!read_nonce(query, nonce)) {
        reply_error(r, 400, "MALFORMED", "permitted is nonce=, with 64 lower-case hex digits");
        return;
    } else if (now_ms() < h->asked_at_ms + EVIDENCE_PAUSE_MS) {
        reply_error(r, 429, "BUSY", "evidence was asked for a moment ago; try again");
        return;
    } else {
        h->asked_at_ms = now_ms();
        body = make_evidence(h, nonce, &why);
    }
    if (body == NULL) {
        node_log("error", "no evidence of ourselves: %s", why.text);
        reply_error(r, 503, "EVIDENCE", why.text);
        return;
    }
    reply(r, 200, body);
    json_decref(body);
}

/* NULL: libevent got no bufferevent of ours and took the connection in plain text. */
static SSL *tls_of(struct evhttp_request *r)
{
    struct evhttp_connection *c = evhttp_request_get_connection(r);
    struct bufferevent *b = c == NULL ? NULL : evhttp_connection_get_bufferevent(c);

    return b == NULL ? NULL : bufferevent_openssl_get_ssl(b);
}

static void on_request(struct evhttp_request *r, void *arg)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(r);
    struct evbuffer *in = evhttp_request_get_input_buffer(r);
    size_t n = evbuffer_get_length(in);
    struct cas_http *h = arg;
    const char *query = evhttp_uri_get_query(uri), *path = evhttp_uri_get_path(uri);
    bool is_post = evhttp_request_get_command(r) == EVHTTP_REQ_POST;
    SSL *tls = tls_of(r);
    struct cas_response answer = {0};
    struct cas_request ask = {
        .method = is_post ? "POST" : "GET",
        .path = path == NULL ? "" : path,
        .query = query == NULL ? "" : query,
        .body = {evbuffer_pullup(in, -1), n},
        .peer = tls == NULL ? NULL : SSL_get0_peer_certificate(tls),
        .now_s = now_s(),
    };
    struct explain why = {0};

    if (tls == NULL) {
        reply_error(r, 403, "NO_TLS", "this service speaks TLS 1.3 only, and is short of memory");
        return;
    }
    if (!is_post && strcmp(ask.path, "/v1/evidence") == 0) {
        on_evidence(h, r, ask.query);
        return;
    }
    cas_handle(h->cas, &ask, &answer);
    if (cas_ca_step(h->cas) != h->ca_step) {
        on_renew(-1, 0, h);
    }
    if (answer.log[0] != '\0') {
        node_log(answer.status == 200 ? "info" : "warning", "%s", answer.log);
    }
    reply(r, answer.status, answer.body);
    json_decref(answer.body);
    if (cas_is_broken(h->cas, &why)) {
        (void)event_base_loopexit(h->base, NULL); /* after this answer is on its way */
    }
}

/* ---- life ---- */

static void on_signal(evutil_socket_t fd, short what, void *base)
{
    (void)fd;
    (void)what;
    (void)event_base_loopbreak(base);
}

static bool watch(struct cas_http *h)
{
    const struct timeval renew = {.tv_sec = IDENTITY_RENEW_S};

    h->on_term = evsignal_new(h->base, SIGTERM, on_signal, h->base);
    h->on_int = evsignal_new(h->base, SIGINT, on_signal, h->base);
    h->on_renew = event_new(h->base, -1, EV_PERSIST, on_renew, h);
    return h->on_term != NULL && h->on_int != NULL && h->on_renew != NULL &&
           event_add(h->on_term, NULL) == 0 && event_add(h->on_int, NULL) == 0 &&
           event_add(h->on_renew, &renew) == 0;
}

RESULT cas_http_start(const struct cas_http_options *o, struct cas *cas, struct cas_http **ret,
                      struct explain *why)
{
    struct cas_http *h = calloc(1, sizeof(*h));
    enum err err = OK;

    if (h == NULL || (h->base = event_base_new()) == NULL ||
        (h->http = evhttp_new(h->base)) == NULL || !watch(h)) {
        explain(why, "out of memory");
        cas_http_stop(h);
        return ERR_UNAVAILABLE;
    }
    h->cas = cas;
    h->has_evidence = o->evidence != NULL;
    if (o->evidence != NULL) {
        h->evidence = *o->evidence;
    }
    err = make_tls(h, why);
    evhttp_set_bevcb(h->http, on_connection, h);
    evhttp_set_gencb(h->http, on_request, h);
    evhttp_set_allowed_methods(h->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
    evhttp_set_max_headers_size(h->http, HEAD_MAX);
    evhttp_set_max_body_size(h->http, CAS_BODY_MAX);
    evhttp_set_timeout(h->http, IDLE_S);
    if (err == OK) {
        err = cas_conns_open(h->http, h->base, o->address, o->port, &h->conns, why);
    }
    if (err != OK) {
        cas_http_stop(h);
        return err;
    }
    *ret = h;
    return OK;
}

RESULT cas_http_serve(struct cas_http *h, struct explain *why)
{
    (void)event_base_dispatch(h->base);
    return cas_is_broken(h->cas, why) ? ERR_IO : OK;
}

void cas_http_stop(struct cas_http *h)
{
    if (h == NULL) {
        return;
    }
    cas_conns_stop(h->conns);
    if (h->http != NULL) {
        evhttp_free(h->http);
    }
    struct event *events[] = {h->on_term, h->on_int, h->on_renew};

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    if (h->base != NULL) {
        event_base_free(h->base);
    }
    cas_conns_free(h->conns);
    json_decref(h->cached);
    SSL_CTX_free(h->tls);
    free(h);
}
