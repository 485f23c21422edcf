// SPDX-License-Identifier: Apache-2.0
#include "host/net/udp_batch.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

/* ---- in ---- */

void udp_receiver_init(struct udp_receiver *r, int fd, uint8_t *buffers)
{
    static const int on = 1;

    memset(r, 0, sizeof(*r));
    r->buffers = buffers;
    for (size_t i = 0; i < UDP_BATCH; i++) {
        r->iov[i] = (struct iovec){.iov_base = buffers + i * UDP_BUFFER, .iov_len = UDP_BUFFER};
        r->msgs[i].msg_hdr = (struct msghdr){.msg_iov = &r->iov[i],
                                             .msg_iovlen = 1,
                                             .msg_name = &r->names[i],
                                             .msg_control = r->control[i].bytes};
    }
    /* An older kernel hands datagrams over one by one. */
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

static void ask_kernel(struct udp_receiver *r, int fd, struct udp_counters *counters)
{
    int got;

    for (size_t i = 0; i < UDP_BATCH; i++) {
        r->msgs[i].msg_hdr.msg_namelen = sizeof(r->names[i]);
        r->msgs[i].msg_hdr.msg_controllen = sizeof(r->control[i]);
    }
    do {
        got = recvmmsg(fd, r->msgs, UDP_BATCH, MSG_DONTWAIT, NULL);
        counters->rx_calls++;
    } while (got < 0 && errno == EINTR);
    r->got = got < 0 ? 0 : (uint32_t)got;
    r->at = 0;
    r->off = 0;
}

/* Bytes of each datagram of the train but the last; the whole when it is none. */
static uint32_t segment_of(struct msghdr *h, uint32_t len)
{
    int segment = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            memcpy(&segment, CMSG_DATA(c), sizeof(segment));
        }
    }
    return segment > 0 && (uint32_t)segment < len ? (uint32_t)segment : len;
}

uint32_t udp_receive(struct udp_receiver *r, int fd, struct udp_arrived *to, uint32_t max,
                     struct udp_counters *counters)
{
    uint32_t n = 0;

    if (!udp_pending(r)) {
        ask_kernel(r, fd, counters);
    }
    while (n < max && udp_pending(r)) {
        struct mmsghdr *m = &r->msgs[r->at];
        uint32_t segment = segment_of(&m->msg_hdr, m->msg_len);

        counters->rx_trains += r->off == 0 && segment < m->msg_len;
        do {
            uint32_t left = m->msg_len - r->off;

            to[n++] = (struct udp_arrived){.off = r->at * UDP_BUFFER + r->off,
                                           .len = left < segment ? left : segment,
                                           .from = &r->names[r->at]};
            r->off += to[n - 1].len;
        } while (n < max && r->off < m->msg_len);
        if (r->off >= m->msg_len) {
            r->at++;
            r->off = 0;
        }
    }
    return n;
}

/* ---- out ---- */

void udp_sender_init(struct udp_sender *s)
{
    memset(s, 0, sizeof(*s));
    s->has_trains = true;
}

/* A train is joined by what has the length of its first datagram; a shorter one ends it. */
static bool joins(const struct udp_sender *s, const struct mmsghdr *m, uint32_t bytes,
                  const struct udp_departing *p)
{
    const struct msghdr *h = &m->msg_hdr;
    size_t first = h->msg_iov[0].iov_len;

    return s->has_trains && h->msg_iov[h->msg_iovlen - 1].iov_len == first && p->len <= first &&
           bytes + p->len <= UDP_TRAIN_MAX && h->msg_namelen == p->name_len &&
           memcmp(h->msg_name, &p->name, p->name_len) == 0;
}

static void mark_train(struct mmsghdr *m, struct udp_control *control)
{
    struct msghdr *h = &m->msg_hdr;
    uint16_t segment = (uint16_t)h->msg_iov[0].iov_len;
    struct cmsghdr *c;

    h->msg_control = control->bytes;
    h->msg_controllen = CMSG_SPACE(sizeof(segment));
    c = CMSG_FIRSTHDR(h);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

/*
 * Messages from packets. The order among destinations may change, the order to one may not:
 *
 *     packets   A 1400  B 900  A 1400  A 300  B 900  A 1400
 *     messages  A 1400 1400 300        B 900 900     A 1400
 */
static void couple(struct udp_sender *s, struct udp_counters *counters)
{
    bool taken[UDP_BATCH] = {false};
    uint32_t iov_n = 0;

    s->msgs_n = s->at = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        struct mmsghdr *m = &s->msgs[s->msgs_n];
        uint32_t bytes = s->packets[i].len;

        if (taken[i] || s->packets[i].name_len == 0) {
            s->dropped += !taken[i];
            continue;
        }
        m->msg_hdr = (struct msghdr){.msg_name = &s->packets[i].name,
                                     .msg_namelen = s->packets[i].name_len,
                                     .msg_iov = &s->iov[iov_n],
                                     .msg_iovlen = 1};
        s->iov[iov_n++] = (struct iovec){.iov_base = s->packets[i].p, .iov_len = bytes};
        for (uint32_t k = i + 1; k < s->n; k++) {
            if (!taken[k] && joins(s, m, bytes, &s->packets[k])) {
                taken[k] = true;
                bytes += s->packets[k].len;
                s->iov[iov_n++] =
                    (struct iovec){.iov_base = s->packets[k].p, .iov_len = s->packets[k].len};
                m->msg_hdr.msg_iovlen++;
            } else if (!taken[k] && s->packets[k].name_len == s->packets[i].name_len &&
                       memcmp(&s->packets[k].name, &s->packets[i].name, s->packets[i].name_len) ==
                           0) {
                break; /* what follows must not overtake it */
            }
        }
        if (m->msg_hdr.msg_iovlen > 1) {
            mark_train(m, &s->control[s->msgs_n]);
            counters->tx_trains++;
        }
        s->msgs_n++;
    }
}

/* The kernel refuses trains: this one and all that follow go one by one. */
static void uncouple(struct udp_sender *s, int fd, struct udp_counters *counters)
{
    const struct msghdr *h = &s->msgs[s->at].msg_hdr;

    s->has_trains = false;
    for (size_t i = 0; i < h->msg_iovlen; i++) {
        ssize_t n = sendto(fd, h->msg_iov[i].iov_base, h->msg_iov[i].iov_len, MSG_DONTWAIT,
                           h->msg_name, h->msg_namelen);

        counters->tx_calls++;
        s->sent += n >= 0;
        s->dropped += n < 0;
    }
    s->at++;
}

bool udp_send(struct udp_sender *s, int fd, struct udp_counters *counters)
{
    if (s->at == s->msgs_n) {
        couple(s, counters);
    }
    while (s->at < s->msgs_n) {
        int sent = sendmmsg(fd, s->msgs + s->at, s->msgs_n - s->at, MSG_DONTWAIT);
        bool is_train = s->msgs[s->at].msg_hdr.msg_iovlen > 1;

        counters->tx_calls++;
        if (sent > 0) {
            for (; sent > 0; sent--) {
                s->sent += (uint32_t)s->msgs[s->at++].msg_hdr.msg_iovlen;
            }
        } else if (errno == EAGAIN) {
            return false;
        } else if (is_train &&
                   (errno == EIO || errno == EINVAL || errno == EOPNOTSUPP || errno == EMSGSIZE)) {
            uncouple(s, fd, counters);
        } else if (errno != EINTR) {
            /* No route, no memory, or an error of a former datagram (ICMP), which is reported here
             * too: as good as lost on the way. */
            s->dropped += (uint32_t)s->msgs[s->at++].msg_hdr.msg_iovlen;
        }
    }
    s->n = s->at = s->msgs_n = 0;
    return true;
}
