// SPDX-License-Identifier: Apache-2.0
#include "peers/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, READS_MAX = 8 };

struct peer_stream {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    struct peer_buffer in, out;
};

/* ---- buffers ---- */

static bool make_room(struct peer_buffer *b, size_t n)
{
    size_t room = b->room == 0 ? 4096 : b->room;
    uint8_t *more;

    if (b->at == b->n) {
        b->at = b->n = 0;
    }
    if (b->at > 0 && b->n + n > b->room) {
        memmove(b->p, b->p + b->at, b->n - b->at);
        b->n -= b->at;
        b->at = 0;
    }
    while (room < b->n + n) {
        room *= 2;
    }
    if (room != b->room) {
        more = realloc(b->p, room);
        if (more == NULL) {
            return false;
        }
        b->p = more;
        b->room = room;
    }
    return true;
}

bool peer_buffer_add(struct peer_buffer *b, const void *p, size_t n)
{
    if (!make_room(b, n)) {
        return false;
    }
    if (n > 0) {
        memcpy(b->p + b->n, p, n);
    }
    b->n += n;
    return true;
}

bool peer_buffer_text(struct peer_buffer *b, const char *format, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return n >= 0 && (size_t)n < sizeof(text) && peer_buffer_add(b, text, (size_t)n);
}

void peer_buffer_free(struct peer_buffer *b)
{
    free(b->p);
    *b = (struct peer_buffer){0};
}

/* ---- connections ---- */

static int connect_to(const char *host, const char *port, uint64_t timeout_ms, char *why,
                      size_t why_size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct timeval wait = {.tv_sec = (time_t)(timeout_ms / 1000),
                           .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
    int on = 1, fd = -1, code = getaddrinfo(host, port, &hints, &list);

    if (code != 0) {
        (void)snprintf(why, why_size, "%s: %s", host, gai_strerror(code));
        return -1;
    }
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0) {
            (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        }
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            (void)snprintf(why, why_size, "%s:%s: %s", host, port, strerror(errno));
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static bool shake_hands(struct peer_stream *s, const char *ca)
{
    s->context = SSL_CTX_new(TLS_client_method());
    if (s->context == NULL || SSL_CTX_load_verify_file(s->context, ca) != 1) {
        return false;
    }
    SSL_CTX_set_verify(s->context, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(s->context,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    s->ssl = SSL_new(s->context);
    return s->ssl != NULL && SSL_set_fd(s->ssl, s->fd) == 1 && SSL_connect(s->ssl) == 1;
}

struct peer_stream *peer_stream_open(const char *host, const char *port, const char *ca,
                                     uint64_t timeout_ms, char *why, size_t why_size)
{
    struct peer_stream *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->fd = connect_to(host, port, timeout_ms, why, why_size);
    if (s->fd >= 0 && ca != NULL && !shake_hands(s, ca)) {
        (void)snprintf(why, why_size, "%s:%s: TLS: %s", host, port,
                       ERR_reason_error_string(ERR_peek_last_error()));
        peer_stream_close(s);
        return NULL;
    }
    if (s->fd < 0 || fcntl(s->fd, F_SETFL, O_NONBLOCK) != 0) {
        peer_stream_close(s);
        return NULL;
    }
    return s;
}

void peer_stream_close(struct peer_stream *s)
{
    if (s == NULL) {
        return;
    }
    SSL_free(s->ssl);
    SSL_CTX_free(s->context);
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    peer_buffer_free(&s->in);
    peer_buffer_free(&s->out);
    free(s);
}

int peer_stream_fd(const struct peer_stream *s)
{
    return s->fd;
}

struct peer_buffer *peer_stream_out(struct peer_stream *s)
{
    return &s->out;
}

struct peer_buffer *peer_stream_in(struct peer_stream *s)
{
    return &s->in;
}

/* -1: nothing goes at the moment; 0: it is over. */
static ssize_t outcome(const struct peer_stream *s, ssize_t n)
{
    int error;

    if (n > 0) {
        return n;
    }
    if (s->ssl == NULL) {
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? -1 : 0;
    }
    error = SSL_get_error(s->ssl, (int)n);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static ssize_t send_some(struct peer_stream *s)
{
    size_t n = s->out.n - s->out.at;

    return outcome(s, s->ssl != NULL ? SSL_write(s->ssl, s->out.p + s->out.at,
                                                 n > INT32_MAX ? INT32_MAX : (int)n)
                                     : send(s->fd, s->out.p + s->out.at, n, MSG_NOSIGNAL));
}

static ssize_t receive_some(struct peer_stream *s)
{
    return outcome(s, s->ssl != NULL ? SSL_read(s->ssl, s->in.p + s->in.n, READ_BYTES)
                                     : recv(s->fd, s->in.p + s->in.n, READ_BYTES, 0));
}

bool peer_stream_move(struct peer_stream *s, struct peer_moved *ret)
{
    ssize_t n = 1;

    while (n > 0 && s->out.at < s->out.n) {
        n = send_some(s);
        s->out.at += n > 0 ? (size_t)n : 0;
    }
    *ret = (struct peer_moved){.blocked = s->out.at < s->out.n};
    if (n == 0) {
        return false;
    }
    for (int i = 0; n != 0 && i < READS_MAX; i++) {
        if (!make_room(&s->in, READ_BYTES)) {
            return false;
        }
        n = receive_some(s);
        s->in.n += n > 0 ? (size_t)n : 0;
        if (n < 0) {
            return true;
        }
    }
    ret->more = true;
    return n != 0;
}
