// SPDX-License-Identifier: Apache-2.0
/*
 * Somebody on the network who sends forged datagrams to replicas as fast as he is told:
 *
 *     flood KIND RATE SECONDS [--trains] PORT...
 *
 * RATE is datagrams a second, all ports of 127.0.0.1 together; 0: as fast as it goes. KIND:
 *
 *     noise     random bytes, 0 to 1,400 of them
 *     guess     a right header before them, but an index that nobody has
 *     heard     a right header with an index that was seen on loopback in a datagram to that port,
 *               and a packet number far ahead: what somebody can send who reads the traffic. Only
 *               the seal is wrong. Needs CAP_NET_RAW, and traffic
 *
 * --trains sends them in trains (UDP_SEGMENT) of one length. Prints how many were sent and the
 * processor time that took, as JSON. Without genuine traffic to compare with, `flood` to a port
 * that nobody reads tells what the sender alone costs a machine.
 */
#include "common/prng.h"

#include <inttypes.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PORTS_MAX = 64,
    MADE = 1024, /* datagrams that are sent in turn */
    LENGTH_MAX = 1400,
    HEADER = 16,
    SEALED_MIN = 32, /* header and tag */
    BATCH = 32,
    TRAIN = 44, /* of the longest fit 64 KiB */
    VERSION_AND_TYPE = 0x11,
    NOBODYS = 0x000fffff, /* an index whose place no shard has */
};

struct made {
    uint32_t len;
    uint8_t bytes[LENGTH_MAX];
};

struct flood {
    struct made *made; /* MADE for each port */
    struct sockaddr_in to[PORTS_MAX];
    uint32_t ports_n;
    int fd;
    bool trains;
    uint64_t at, sent, refused;
};

static const uint64_t LISTEN_NS = 3000000000;

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* The index of a genuine datagram to this port. */
static uint32_t listen_for(uint16_t port)
{
    struct sockaddr_ll lo = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_IP),
                             .sll_ifindex = (int)if_nametoindex("lo")};
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP));
    uint64_t until = clock_ns(CLOCK_MONOTONIC) + LISTEN_NS;
    uint8_t p[2048];
    uint32_t index;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&lo, sizeof(lo)) == 0) {
        while (clock_ns(CLOCK_MONOTONIC) < until) {
            ssize_t n = recv(fd, p, sizeof(p), 0);
            const uint8_t *udp = p + (size_t)(p[0] & 15) * 4, *ours = udp + 8;

            if (n >= 20 + 8 + SEALED_MIN && p[9] == IPPROTO_UDP && udp[2] == port >> 8 &&
                udp[3] == (port & 255) && ours[0] == VERSION_AND_TYPE) {
                memcpy(&index, ours + 4, sizeof(index));
                (void)close(fd);
                return index;
            }
        }
    }
    (void)fprintf(stderr, "flood: heard nothing that goes to port %u\n", port);
    exit(1);
}

static void make_one(struct prng *rng, struct made *m, bool is_noise, uint32_t index)
{
    uint32_t least = is_noise ? 0 : SEALED_MIN;
    uint64_t number = (UINT64_C(1) << 40) + prng_below(rng, 1000);

    m->len = least + (uint32_t)prng_below(rng, LENGTH_MAX + 1 - least);
    for (uint32_t k = 0; k < LENGTH_MAX; k++) {
        m->bytes[k] = (uint8_t)prng_u64(rng);
    }
    if (!is_noise) {
        memset(m->bytes, 0, HEADER);
        m->bytes[0] = VERSION_AND_TYPE;
        memcpy(m->bytes + 4, &index, sizeof(index));
        memcpy(m->bytes + 8, &number, sizeof(number));
    }
}

static void make(struct flood *f, const char *kind)
{
    struct prng rng = {1};

    for (uint32_t i = 0; i < f->ports_n; i++) {
        bool is_heard = strcmp(kind, "heard") == 0;
        uint32_t index = is_heard ? listen_for(ntohs(f->to[i].sin_port)) : NOBODYS;

        for (uint32_t k = 0; k < MADE; k++) {
            make_one(&rng, &f->made[i * MADE + k], strcmp(kind, "noise") == 0, index);
        }
    }
}

/* The next one, and to whom. */
static struct made *next(struct flood *f, uint64_t at, struct sockaddr_in **ret_to)
{
    uint32_t port = (uint32_t)(at % f->ports_n);

    *ret_to = &f->to[port];
    return &f->made[(size_t)port * MADE + at / f->ports_n % MADE];
}

static void one_by_one(struct flood *f)
{
    struct mmsghdr msgs[BATCH];
    struct iovec iov[BATCH];
    int n;

    memset(msgs, 0, sizeof(msgs));
    for (uint32_t i = 0; i < BATCH; i++) {
        struct sockaddr_in *to;
        struct made *m = next(f, f->at + i, &to);

        iov[i] = (struct iovec){m->bytes, m->len};
        msgs[i].msg_hdr = (struct msghdr){
            .msg_name = to, .msg_namelen = sizeof(*to), .msg_iov = &iov[i], .msg_iovlen = 1};
    }
    n = sendmmsg(f->fd, msgs, BATCH, 0);
    f->sent += n > 0 ? (uint64_t)n : 0;
    f->refused += n > 0 ? 0 : 1;
    f->at += BATCH;
}

static void train(struct flood *f)
{
    struct sockaddr_in *to;
    struct made *first = next(f, f->at / TRAIN, &to);
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {0};
    struct iovec iov[TRAIN];
    struct msghdr h = {.msg_name = to,
                       .msg_namelen = sizeof(*to),
                       .msg_iov = iov,
                       .msg_iovlen = TRAIN,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    uint16_t segment = (uint16_t)(first->len < SEALED_MIN ? SEALED_MIN : first->len);
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);

    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
    for (uint32_t i = 0; i < TRAIN; i++) {
        iov[i] = (struct iovec){first->bytes, segment};
    }
    if (sendmsg(f->fd, &h, 0) > 0) {
        f->sent += TRAIN;
    } else {
        f->refused++;
    }
    f->at += TRAIN;
}

static void run(struct flood *f, uint64_t rate, double seconds)
{
    uint64_t begin = clock_ns(CLOCK_MONOTONIC), now = begin;
    uint64_t until = begin + (uint64_t)(seconds * 1e9);

    while (now < until) {
        uint64_t due = (uint64_t)((double)rate * (double)(now - begin) * 1e-9);

        if (rate == 0 || f->at < due) {
            if (f->trains) {
                train(f);
            } else {
                one_by_one(f);
            }
        } else {
            (void)usleep(100);
        }
        now = clock_ns(CLOCK_MONOTONIC);
    }
    printf("{\"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"seconds\": %.3f, \"cpu\": %.3f}\n",
           f->sent, f->refused, (double)(now - begin) * 1e-9,
           (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) * 1e-9);
}

int main(int argc, char **argv)
{
    struct flood f = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    int bytes = 4 << 20;

    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "--trains") == 0) {
            f.trains = true;
        } else if (f.ports_n < PORTS_MAX) {
            f.to[f.ports_n++] =
                (struct sockaddr_in){.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)strtoul(argv[i], NULL, 10)),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        }
    }
    f.made = calloc((size_t)MADE * (f.ports_n + 1), sizeof(struct made));
    if (f.ports_n == 0 || f.made == NULL || f.fd < 0) {
        free(f.made);
        (void)fprintf(stderr, "usage: flood noise|guess|heard RATE SECONDS [--trains] PORT...\n");
        return 64;
    }
    (void)setsockopt(f.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    make(&f, argv[1]);
    run(&f, strtoull(argv[2], NULL, 10), strtod(argv[3], NULL));
    free(f.made);
    return 0;
}
