// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/tls.h"

#include "common/check.h"
#include "common/codec.h"
#include "trusted/config/explain.h"
#include "trusted/control/identity_internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <limits.h>
#include <stdlib.h>
#include <time.h>

enum { CHUNK = 4096 };

struct tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool is_ready;
    enum err over;          /* OK while the connection lives */
    struct explain refused; /* why the peer's certificate was, "" otherwise */
    struct identity_name peer;
    uint64_t peer_until_s;
    size_t unproven; /* network bytes taken before is_ready */
    uint8_t *plain;  /* application bytes that nobody has read yet: [plain_off, plain_len) */
    size_t plain_off, plain_len, plain_cap;
};

/* OpenSSL has judged a certificate: keep the reason while it can be named. */
static int on_verify(int is_good, X509_STORE_CTX *ctx)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = ssl == NULL ? NULL : SSL_get_app_data(ssl);

    if (is_good == 0 && t != NULL && t->refused.text[0] == '\0') {
        identity_explain_verify(&t->refused, "the other end's certificate",
                                X509_STORE_CTX_get_error(ctx),
                                X509_STORE_CTX_get_current_cert(ctx));
    }
    return is_good;
}

RESULT tls_open(const struct identity *self, bool is_server, struct tls **ret)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        return ERR_IO;
    }
    t->ssl = SSL_new(identity_ssl_ctx(self));
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->ssl == NULL || t->in == NULL || t->out == NULL) {
        BIO_free(t->in);
        BIO_free(t->out);
        SSL_free(t->ssl);
        free(t);
        return ERR_IO;
    }
    (void)BIO_set_mem_eof_return(t->in, -1); /* empty means wait, not end */
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_verify(t->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    (void)SSL_set_app_data(t->ssl, t);
    if (is_server) {
        SSL_set_accept_state(t->ssl);
    } else {
        SSL_set_connect_state(t->ssl);
        (void)SSL_do_handshake(t->ssl); /* the first flight; nothing can be refused yet */
    }
    ERR_clear_error();
    *ret = t;
    return OK;
}

void tls_close(struct tls *t)
{
    if (t == NULL) {
        return;
    }
    if (t->plain != NULL) {
        OPENSSL_cleanse(t->plain, t->plain_cap);
        free(t->plain);
    }
    SSL_free(t->ssl);
    OPENSSL_cleanse(t, sizeof(*t));
    free(t);
}

void tls_set_time(struct tls *t, uint64_t now_s)
{
    X509_VERIFY_PARAM_set_time(SSL_get0_param(t->ssl),
                               now_s > INT64_MAX ? INT64_MAX : (time_t)now_s);
}

/* What the other end said against us. */
static void explain_alert(struct explain *why, int alert)
{
    switch (alert) {
    case SSL_AD_CERTIFICATE_EXPIRED:
        explain(why, "the other end says that our certificate has expired; issue a new one or "
                     "correct its clock");
        return;
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_DECRYPT_ERROR:
        explain(why, "the other end does not accept the CA of our certificate; are both ends of "
                     "the same cluster?");
        return;
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
        explain(why, "the other end refuses our certificate (%s); its log says why",
                SSL_alert_desc_string_long(alert));
        return;
    default:
        explain(why, "the other end ended the TLS connection: %s; its log says why",
                SSL_alert_desc_string_long(alert));
        return;
    }
}

/* Turns OpenSSL's error queue into one line. */
static void explain_failure(const struct tls *t, struct explain *why)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char *text = ERR_reason_error_string(code);

    if (reason > SSL_AD_REASON_OFFSET) {
        explain_alert(why, reason - SSL_AD_REASON_OFFSET);
        return;
    }
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        explain(why, "%s", t->refused.text);
        return;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        explain(why, "the other end showed no certificate; give it one of this cluster's");
        return;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        explain(why, "the other end does not speak TLS 1.3; is this the control port of a node?");
        return;
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
        explain(why, "a TLS record was changed on its way");
        return;
    default:
        explain(why, "TLS failed: %s", text == NULL ? "no reason given" : text);
        return;
    }
}

static enum err fail(struct tls *t, enum err err)
{
    t->over = err;
    ERR_clear_error();
    return err;
}

static enum err on_ready(struct tls *t, struct explain *why)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);

    if (cert == NULL || !identity_read_time(X509_get0_notAfter(cert), &t->peer_until_s) ||
        SSL_get_verify_result(t->ssl) != X509_V_OK || identity_name_of(cert, &t->peer) != OK) {
        explain(why, "the other end's certificate names neither a replica nor a client of a "
                     "cluster; issue a new one");
        return fail(t, ERR_AUTH);
    }
    t->is_ready = true;
    return OK;
}

/* Room for one more chunk of application bytes. */
static bool make_room(struct tls *t)
{
    uint8_t *more = NULL;
    size_t cap = t->plain_cap == 0 ? CHUNK : 2 * t->plain_cap;

    if (t->plain_off > 0) {
        memmove(t->plain, t->plain + t->plain_off, t->plain_len - t->plain_off);
        t->plain_len -= t->plain_off;
        t->plain_off = 0;
    }
    if (t->plain_cap - t->plain_len >= CHUNK) {
        return true;
    }
    if (cap > TLS_UNREAD_MAX) {
        return false;
    }
    more = malloc(cap);
    if (more == NULL) {
        return false;
    }
    if (t->plain != NULL) {
        memcpy(more, t->plain, t->plain_len);
        OPENSSL_cleanse(t->plain, t->plain_cap);
        free(t->plain);
    }
    t->plain = more;
    t->plain_cap = cap;
    return true;
}

/* Runs OpenSSL over what has come so far. */
static enum err advance(struct tls *t, struct explain *why)
{
    int result = 0;

    ERR_clear_error();
    if (!t->is_ready) {
        result = SSL_do_handshake(t->ssl);
        if (result != 1) {
            goto stopped;
        }
        TRY(on_ready(t, why));
    }
    for (;;) {
        if (!make_room(t)) {
            explain(why, "the other end sends more than it may");
            return fail(t, ERR_TOO_BIG);
        }
        result = SSL_read(t->ssl, t->plain + t->plain_len, CHUNK);
        if (result <= 0) {
            break;
        }
        t->plain_len += (size_t)result;
    }
stopped:
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return OK;
    case SSL_ERROR_ZERO_RETURN:
        explain(why, "the other end closed the connection");
        return fail(t, ERR_CLOSED);
    default:
        explain_failure(t, why);
        return fail(t, ERR_AUTH);
    }
}

RESULT tls_input(struct tls *t, struct bytes in, struct explain *why)
{
    while (in.n > 0) {
        int n = in.n > CHUNK ? CHUNK : (int)in.n;

        if (t->over != OK) {
            explain(why, "the connection is over");
            return t->over;
        }
        if (!t->is_ready) {
            t->unproven += (size_t)n;
            if (t->unproven > TLS_UNPROVEN_MAX + CHUNK) {
                explain(why, "the other end sent more than %d bytes without proving who it is",
                        TLS_UNPROVEN_MAX);
                return fail(t, ERR_TOO_BIG);
            }
        }
        if (BIO_write(t->in, in.p, n) != n) {
            explain(why, "out of memory");
            return fail(t, ERR_TOO_BIG);
        }
        TRY(advance(t, why));
        in = (struct bytes){.p = in.p + n, .n = in.n - (size_t)n};
    }
    return OK;
}

size_t tls_output(struct tls *t, struct mbytes to)
{
    int n = to.n == 0 ? 0 : BIO_read(t->out, to.p, to.n > INT_MAX ? INT_MAX : (int)to.n);

    return n > 0 ? (size_t)n : 0;
}

bool tls_ready(const struct tls *t)
{
    return t->is_ready;
}

const struct identity_name *tls_peer(const struct tls *t)
{
    CHECK(t->is_ready);
    return &t->peer;
}

uint64_t tls_peer_until(const struct tls *t)
{
    CHECK(t->is_ready);
    return t->peer_until_s;
}

RESULT tls_write(struct tls *t, struct bytes in)
{
    CHECK(t->is_ready && in.n <= INT_MAX);
    if (t->over != OK) {
        return ERR_CLOSED;
    }
    /* A memory BIO takes everything at once. */
    ERR_clear_error();
    if (in.n > 0 && SSL_write(t->ssl, in.p, (int)in.n) != (int)in.n) {
        return fail(t, ERR_CLOSED);
    }
    return OK;
}

size_t tls_read(struct tls *t, struct mbytes to)
{
    size_t n = t->plain_len - t->plain_off;

    n = n < to.n ? n : to.n;
    if (n > 0) {
        memcpy(to.p, t->plain + t->plain_off, n);
        OPENSSL_cleanse(t->plain + t->plain_off, n);
        t->plain_off += n;
    }
    return n;
}

RESULT tls_export(struct tls *t, const struct tls_binding *b, struct secret *ret_dialer_sends,
                  struct secret *ret_acceptor_sends)
{
    static const char label[] = "EXPORTER-avocado-rpc-v1";
    uint8_t text[128], context[32];
    struct {
        struct secret dialer_sends, acceptor_sends;
    } out;
    struct writer w = {.to = {.p = text, .n = sizeof(text)}};
    size_t n = 0;
    bool good = false;

    CHECK(t->is_ready);
    put_bytes(&w, (struct bytes){.p = b->cluster, .n = sizeof(b->cluster)});
    put_u64(&w, b->epoch);
    put_u32(&w, b->dialer_incarnation);
    put_u32(&w, b->acceptor_incarnation);
    put_bytes(&w, (struct bytes){.p = b->dialer_boot, .n = sizeof(b->dialer_boot)});
    put_bytes(&w, (struct bytes){.p = b->acceptor_boot, .n = sizeof(b->acceptor_boot)});
    put_u8(&w, (uint8_t)b->dialer_role);
    put_u16(&w, b->shard);
    CHECK(writer_done(&w, &n));
    _Static_assert(sizeof(out) == 64, "two secrets and nothing between them");
    good = EVP_Digest(text, n, context, NULL, EVP_sha256(), NULL) == 1 &&
           SSL_export_keying_material(t->ssl, (unsigned char *)&out, sizeof(out), label,
                                      sizeof(label) - 1, context, sizeof(context), 1) == 1;
    if (good) {
        *ret_dialer_sends = out.dialer_sends;
        *ret_acceptor_sends = out.acceptor_sends;
    }
    OPENSSL_cleanse(&out, sizeof(out));
    ERR_clear_error();
    return good ? OK : ERR_AUTH;
}
