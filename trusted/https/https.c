// SPDX-License-Identifier: Apache-2.0
#include "trusted/https/https.h"

#include "common/check.h"
#include "trusted/config/explain.h"
#include "trusted/control/identity.h"
#include "trusted/evidence/evidence.h"
#include "trusted/https/http_answer.h"
#include "trusted/https/https_via.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 16 << 10, ANSWER_MAX = HTTP_HEAD_MAX + HTTP_BODY_MAX, SELF_SIGNED_S = 7 * 86400 };

struct call {
    const struct https_peer *peer;
    const struct https_ask *ask;
    struct explain *why;
    uint64_t until_ms;
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO_METHOD *method; /* of peer->via */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Waits until the socket can do this; false when time is over. */
static bool wait_for(const struct call *c, short what)
{
    struct pollfd p = {.fd = c->fd, .events = what};
    uint64_t now = now_ms();

    return now < c->until_ms && poll(&p, 1, (int)(c->until_ms - now)) == 1;
}

static enum err unreachable(const struct call *c, const char *what, const char *reason)
{
    explain(c->why, "the CAS at %s:%u %s: %s; is it running and reachable?", c->peer->host,
            (unsigned)c->peer->port, what, reason);
    return ERR_UNAVAILABLE;
}

static bool connect_one(struct call *c, const struct addrinfo *a, int *ret_errno)
{
    int error = 0, on = 1;
    socklen_t n = sizeof(error);

    c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        *ret_errno = errno;
        return false;
    }
    /* A question is two writes; the second must not wait for the other end's delayed ACK. */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, a->ai_addr, a->ai_addrlen) == 0) {
        return true;
    }
    error = errno;
    if (error == EINPROGRESS) {
        error = ETIMEDOUT;
        if (wait_for(c, POLLOUT) && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 &&
            error == 0) {
            return true;
        }
    }
    *ret_errno = error;
    (void)close(c->fd);
    c->fd = -1;
    return false;
}

static enum err look_up(const struct call *c, struct addrinfo **ret)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    int code;

    (void)snprintf(port, sizeof(port), "%u", (unsigned)c->peer->port);
    code = getaddrinfo(c->peer->host, port, &hints, ret);
    return code == 0 ? OK : unreachable(c, "has no address", gai_strerror(code));
}

static enum err connect_any(struct call *c)
{
    const struct https_via *via = c->peer->via;
    struct addrinfo *list = NULL;
    int error = ENOENT;

    if (via != NULL) {
        return via->open(via->ctx, c->peer->host, c->peer->port, c->until_ms)
                   ? OK
                   : unreachable(c, "does not answer", "no stream through the host");
    }
    TRY(look_up(c, &list));
    for (const struct addrinfo *a = list; a != NULL && c->fd < 0; a = a->ai_next) {
        if (connect_one(c, a, &error)) {
            break;
        }
    }
    freeaddrinfo(list);
    return c->fd >= 0 ? OK : unreachable(c, "does not answer", strerror(error));
}

/* One or more certificates as trust anchors. */
static bool add_anchors(SSL_CTX *ctx, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509 *cert = NULL;
    size_t n = 0;

    while (bio != NULL && (cert = PEM_read_bio_X509(bio, NULL, pki_no_passphrase, NULL)) != NULL) {
        n += X509_STORE_add_cert(store, cert) == 1;
        X509_free(cert);
    }
    ERR_clear_error();
    BIO_free(bio);
    return n > 0;
}

static enum err make_tls(struct call *c)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (c->ctx == NULL || SSL_CTX_set_min_proto_version(c->ctx, TLS1_3_VERSION) != 1 ||
        (c->ask->cert != NULL && (SSL_CTX_use_certificate(c->ctx, c->ask->cert) != 1 ||
                                  SSL_CTX_use_PrivateKey(c->ctx, c->ask->key) != 1))) {
        return pki_refuse(c->why, "TLS cannot be set up");
    }
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL); /* judged after the handshake, once */
    if (c->peer->ca_pem != NULL && !add_anchors(c->ctx, c->peer->ca_pem)) {
        explain(c->why, "the CAS's CA is no PEM certificate");
        return ERR_MALFORMED;
    }
    c->ssl = SSL_new(c->ctx);
    if (c->ssl != NULL && c->peer->via != NULL) {
        BIO *bio = https_via_bio(c->peer->via, c->until_ms, &c->method);

        SSL_set_bio(c->ssl, bio, bio);
        return bio != NULL ? OK : pki_refuse(c->why, "TLS cannot be set up");
    }
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        return pki_refuse(c->why, "TLS cannot be set up");
    }
    return OK;
}

/* Repeats a step of OpenSSL that wants the socket. */
static bool again(const struct call *c, int result)
{
    int error = SSL_get_error(c->ssl, result);

    return (error == SSL_ERROR_WANT_READ && wait_for(c, POLLIN)) ||
           (error == SSL_ERROR_WANT_WRITE && wait_for(c, POLLOUT));
}

static enum err handshake(const struct call *c)
{
    int n;

    do {
        n = SSL_connect(c->ssl);
    } while (n != 1 && again(c, n));
    if (n != 1) {
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());

        ERR_clear_error();
        return unreachable(c, "ends the TLS handshake", reason == NULL ? "no answer" : reason);
    }
    return OK;
}

/* A certificate of the CA is not enough: clients and replicas have those as well. */
static bool is_cas(X509 *cert)
{
    struct identity_name name;

    return identity_name_of(cert, &name) == OK && name.role == ROLE_SERVICE &&
           strcmp(name.client, "cas") == 0;
}

static enum err judge_peer(const struct call *c, struct https_answer *to)
{
    X509 *cert = SSL_get0_peer_certificate(c->ssl);
    X509_STORE_CTX *ctx = NULL;
    bool good = true;
    long verify_err = X509_V_OK;

    if (cert == NULL || https_key_hash(cert, to->key_hash) != OK) {
        explain(c->why, "the other end at %s:%u shows no certificate", c->peer->host,
                (unsigned)c->peer->port);
        return ERR_AUTH;
    }
    if (c->peer->key_hash != NULL &&
        memcmp(c->peer->key_hash, to->key_hash, sizeof(to->key_hash)) != 0) {
        explain(c->why, "forged CAS: who answers at %s:%u holds another key than its evidence says",
                c->peer->host, (unsigned)c->peer->port);
        return ERR_AUTH;
    }
    if (c->peer->ca_pem == NULL) {
        return OK;
    }
    ctx = X509_STORE_CTX_new();
    if (ctx == NULL || X509_STORE_CTX_init(ctx, SSL_CTX_get_cert_store(c->ctx), cert, NULL) != 1) {
        good = false;
    } else {
        good = X509_verify_cert(ctx) == 1;
        verify_err = X509_STORE_CTX_get_error(ctx);
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    if (!good || !is_cas(cert)) {
        explain(c->why, "forged CAS: who answers at %s:%u %s: %s", c->peer->host,
                (unsigned)c->peer->port,
                good ? "has a certificate that is not the CAS's"
                     : "has no certificate of the expected CA",
                good ? "wrong name" : X509_verify_cert_error_string(verify_err));
        return ERR_AUTH;
    }
    return OK;
}

static bool write_all(const struct call *c, const void *p, size_t n)
{
    const uint8_t *at = p;

    while (n > 0) {
        int done = SSL_write(c->ssl, at, n > CHUNK ? CHUNK : (int)n);

        if (done <= 0) {
            if (!again(c, done)) {
                return false;
            }
            continue;
        }
        at += done;
        n -= (size_t)done;
    }
    return true;
}

static enum err send_ask(const struct call *c)
{
    char head[1024];
    int n = snprintf(head, sizeof(head),
                     "%s %s HTTP/1.1\r\nHost: cas\r\nConnection: close\r\n"
                     "Content-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     c->ask->method, c->ask->path, c->ask->body.n);

    CHECK(n > 0 && n < (int)sizeof(head));
    if (!write_all(c, head, (size_t)n) || !write_all(c, c->ask->body.p, c->ask->body.n)) {
        ERR_clear_error();
        return unreachable(c, "does not take the request", "connection lost");
    }
    return OK;
}

/* Everything until the other end closes. */
static enum err receive(const struct call *c, char **ret, size_t *ret_n)
{
    size_t room = (size_t)2 * CHUNK, n = 0;
    char *p = malloc(room);

    while (p != NULL) {
        int got = 0;

        if (room - n < CHUNK) {
            char *more = room > ANSWER_MAX ? NULL : realloc(p, 2 * room);

            if (more == NULL) {
                break;
            }
            p = more;
            room *= 2;
        }
        got = SSL_read(c->ssl, p + n, CHUNK);
        if (got <= 0 && again(c, got)) {
            continue;
        }
        if (got <= 0) {
            bool in_order = SSL_get_error(c->ssl, got) == SSL_ERROR_ZERO_RETURN ||
                            now_ms() < c->until_ms; /* Content-Length tells a cut answer */

            ERR_clear_error();
            if (!in_order) {
                free(p);
                return unreachable(c, "does not answer", "time is over");
            }
            *ret = p;
            *ret_n = n;
            return OK;
        }
        n += (size_t)got;
    }
    free(p);
    explain(c->why, "the answer of the CAS is too long");
    return ERR_MALFORMED;
}

static enum err take_answer(const struct call *c, struct bytes from, struct https_answer *to)
{
    struct http_answer a = {0};
    enum err err = http_answer_parse(from, &a);

    if (err == ERR_CLOSED) {
        return unreachable(c, "was cut off in its answer", "connection lost");
    }
    if (err == ERR_TOO_BIG) {
        explain(c->why, "the answer of the CAS is too long");
        return ERR_MALFORMED;
    }
    if (err != OK) {
        explain(c->why, "the other end at %s:%u speaks no HTTP", c->peer->host,
                (unsigned)c->peer->port);
        return err;
    }
    to->body = malloc(a.body.n + 1);
    if (to->body == NULL) {
        explain(c->why, "out of memory");
        return ERR_IO;
    }
    if (a.body.n > 0) {
        memcpy(to->body, a.body.p, a.body.n);
    }
    to->body[a.body.n] = '\0';
    to->body_n = a.body.n;
    to->status = a.status;
    return OK;
}

static enum err converse(struct call *c, struct https_answer *to)
{
    char *text = NULL;
    size_t n = 0;
    enum err err = connect_any(c);

    if (err == OK) {
        err = make_tls(c);
    }
    if (err == OK) {
        err = handshake(c);
    }
    if (err == OK) {
        err = judge_peer(c, to);
    }
    if (err == OK) {
        err = send_ask(c);
    }
    if (err == OK) {
        err = receive(c, &text, &n);
    }
    if (err == OK) {
        err = take_answer(c, (struct bytes){(const uint8_t *)text, n}, to);
        OPENSSL_cleanse(text, n);
        free(text);
    }
    return err;
}

RESULT https_call(const struct https_peer *peer, const struct https_ask *ask,
                  struct https_answer *ret, struct explain *why)
{
    struct call c = {
        .peer = peer, .ask = ask, .why = why, .until_ms = now_ms() + ask->timeout_ms, .fd = -1};
    struct https_answer answer = {0};
    enum err err = converse(&c, &answer);

    if (c.ssl != NULL) {
        (void)SSL_shutdown(c.ssl);
    }
    SSL_free(c.ssl);
    SSL_CTX_free(c.ctx);
    BIO_meth_free(c.method);
    if (peer->via != NULL) {
        peer->via->close(peer->via->ctx);
    }
    if (c.fd >= 0) {
        (void)close(c.fd);
    }
    ERR_clear_error();
    if (err != OK) {
        https_answer_free(&answer);
        return err;
    }
    *ret = answer;
    return OK;
}

void https_answer_free(struct https_answer *a)
{
    if (a->body != NULL) {
        OPENSSL_cleanse(a->body, a->body_n);
    }
    free(a->body);
    *a = (struct https_answer){0};
}

RESULT https_peer_parse(const char *text, struct https_peer *ret, struct explain *why)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - text);
    char *end = NULL;
    unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);
    struct https_peer p = {0};

    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n == 0 || n > HTTPS_HOST_MAX || port == 0 || port > UINT16_MAX || *end != '\0') {
        explain(why, "'%s' is no address: permitted is HOST:PORT, as 192.0.2.1:7100", text);
        return ERR_USAGE;
    }
    memcpy(p.host, text, n);
    p.port = (uint16_t)port;
    *ret = p;
    return OK;
}

RESULT https_peer_resolve(struct https_peer *p, struct explain *why)
{
    const struct call c = {.peer = p, .why = why};
    struct addrinfo *list = NULL;
    char host[NI_MAXHOST];

    TRY(look_up(&c, &list));
    if (getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) ==
            0 &&
        strlen(host) <= HTTPS_HOST_MAX) {
        memcpy(p->host, host, strlen(host) + 1);
    }
    freeaddrinfo(list);
    return OK;
}

RESULT https_key_hash(X509 *cert, uint8_t ret[static HTTPS_KEY_HASH_LEN])
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

    if (n <= 0) {
        return ERR_MALFORMED;
    }
    evidence_key_hash((struct bytes){der, (size_t)n}, ret);
    OPENSSL_free(der);
    return OK;
}

RESULT https_show_key(EVP_PKEY *key, X509 **ret_cert, struct explain *why)
{
    const struct pki_dates dates = {(uint64_t)time(NULL), SELF_SIGNED_S};
    X509 *cert = key == NULL ? NULL : pki_cert_new("avocado, unproven", key, &dates);

    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        X509_sign(cert, key, EVP_sha256()) == 0) {
        X509_free(cert);
        return pki_refuse(why, "a TLS key cannot be made");
    }
    *ret_cert = cert;
    return OK;
}

RESULT https_new_key(EVP_PKEY **ret_key, X509 **ret_cert, struct explain *why)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    enum err err = https_show_key(key, ret_cert, why);

    if (err != OK) {
        EVP_PKEY_free(key);
        return err;
    }
    *ret_key = key;
    return OK;
}
