// SPDX-License-Identifier: Apache-2.0
/* avocado-hostd: sockets and rings for a replica in split mode. */
#include "daemons/hostd.h"

#include "host/net/dpdk.h"
#include "host/net/index_gate.h"
#include "host/run/clock.h"
#include "host/run/relay_loop.h"
#include "host/run/tsc.h"

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum exit_code {
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3,
};

enum {
    SOCKET_FD = 3, /* where each process finds its end */
    CLOCK_US = 100000,
};

static const char help[] =
    "Usage: avocado-hostd --address A --data-port P --control-port C [options] -- avocadod ...\n"
    "\n"
    "The untrusted half of a replica in split mode: has the sockets, and hands packets and bytes\n"
    "through shared memory to an avocadod that makes no network call. Becomes the given command,\n"
    "with '--io ring --ring-fd N' added, and stays behind as its child; ends when that ends.\n"
    "\n"
    "  --address A          IPv4 or IPv6 literal, as in the configuration\n"
    "  --data-port P        UDP port of the first shard\n"
    "  --control-port C     TCP port\n"
    "  --shards N           as in the configuration (default 1)\n"
    "  --poll adaptive|busy how to wait (default adaptive)\n"
    "  --io udp|dpdk        packets by the kernel (default) or by DPDK, past it\n"
    "  --dpdk-port PORT     with --io dpdk, up to 8 times: DEVICE,ip=ADDRESS/BITS and what else\n"
    "                       avocadod(8) says, or 'kernel': what no port leads to goes through it\n"
    "  --dpdk-eal WORDS     for DPDK's EAL, separated by blanks\n"
    "  --help, --version\n"
    "\n"
    "Exit: that of the command; 2 usage, 3 ports or memory not to be had.\n";

struct options {
    const char *address;
    uint16_t data_port, control_port;
    uint32_t shards;
    enum shard_loop_polling polling;
    bool is_dpdk;
    struct dpdk_options dpdk;
    char bad_port[DPDK_WHY]; /* what is wrong with --dpdk-port */
    char **command;
};

struct hostd {
    struct options o;
    struct handover h;
    struct event_base *base;
    struct event *gone, *clock;
    struct hostd_streams *streams;
    struct dpdk *dpdk; /* NULL: not used */
    struct relay_loop relays[SHARDS_MAX];
    uint32_t relays_n;
    uint64_t tsc, ns; /* of the last reading of both clocks */
    uint32_t clock_seq;
    uint32_t index_key; /* CTL-7; 0: none */
};

static int fail(enum exit_code code, const char *what)
{
    (void)fprintf(stderr, "avocado-hostd: %s\n", what);
    return (int)code;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoul(text, &end, 10);
    return errno == 0 && *end == 0 && end != text && text[0] != '-' && *ret > 0 && *ret <= max;
}

static bool set_option(int which, struct options *o)
{
    unsigned long n;

    switch (which) {
    case 'a':
        o->address = optarg;
        return true;
    case 'd':
        o->data_port = parse_number(optarg, UINT16_MAX, &n) ? (uint16_t)n : 0;
        return o->data_port != 0;
    case 'c':
        o->control_port = parse_number(optarg, UINT16_MAX, &n) ? (uint16_t)n : 0;
        return o->control_port != 0;
    case 's':
        o->shards = parse_number(optarg, SHARDS_MAX, &n) ? (uint32_t)n : 0;
        return o->shards != 0;
    case 'p':
        o->polling = strcmp(optarg, "busy") == 0 ? SHARD_LOOP_BUSY : SHARD_LOOP_ADAPTIVE;
        return strcmp(optarg, "busy") == 0 || strcmp(optarg, "adaptive") == 0;
    case 'o':
        o->is_dpdk = strcmp(optarg, "dpdk") == 0;
        return o->is_dpdk || strcmp(optarg, "udp") == 0;
    case 'P':
        return dpdk_port_parse(optarg, &o->dpdk, o->bad_port) == OK;
    case 'W':
        o->dpdk.eal = optarg;
        return true;
    default:
        return false;
    }
}

static bool is_complete(const struct options *o, int *ret_code)
{
    bool has_ports = o->dpdk.ports_n > 0 || o->dpdk.has_kernel;

    if (o->address == NULL || o->data_port == 0 || o->control_port == 0 || o->command[0] == NULL) {
        *ret_code = fail(EXIT_USAGE, "--address, --data-port, --control-port and a command are "
                                     "needed; see `avocado-hostd --help`");
        return false;
    }
    if (o->is_dpdk != has_ports || (!o->is_dpdk && o->dpdk.eal != NULL)) {
        *ret_code = fail(EXIT_USAGE, "--io dpdk needs --dpdk-port, which goes with nothing else");
        return false;
    }
    return true;
}

static bool parse_options(int argc, char **argv, struct options *o, int *ret_code)
{
    static const struct option longs[] = {{"address", required_argument, NULL, 'a'},
                                          {"data-port", required_argument, NULL, 'd'},
                                          {"control-port", required_argument, NULL, 'c'},
                                          {"shards", required_argument, NULL, 's'},
                                          {"poll", required_argument, NULL, 'p'},
                                          {"io", required_argument, NULL, 'o'},
                                          {"dpdk-port", required_argument, NULL, 'P'},
                                          {"dpdk-eal", required_argument, NULL, 'W'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
        if (c == 'h' || c == 'V') {
            (void)fputs(c == 'h' ? help : "avocado-hostd " AVOCADO_VERSION "\n", stdout);
            *ret_code = 0;
            return false;
        }
        if (c == '?') {
            *ret_code = fail(EXIT_USAGE, "see `avocado-hostd --help`");
            return false;
        }
        if (!set_option(c, o)) {
            (void)fprintf(stderr, "avocado-hostd: bad value '%s'%s%s; see `avocado-hostd --help`\n",
                          optarg, o->bad_port[0] == 0 ? "" : ": ", o->bad_port);
            *ret_code = EXIT_USAGE;
            return false;
        }
    }
    o->command = argv + optind;
    return is_complete(o, ret_code);
}

/* ---- the host ---- */

/* RING-7: both clocks at once, and the rate since the last time. */
static void share_clock(struct hostd *d)
{
    volatile struct ring_clock *clock = &((struct ring_page *)(void *)d->h.memory)->clock;
    uint64_t ns = clock_now_ns(), tsc = tsc_now();

    if (tsc > d->tsc && d->tsc != 0) {
        uint64_t mult = tsc_rate(ns - d->ns, tsc - d->tsc);

        clock->seq = ++d->clock_seq;
        atomic_thread_fence(memory_order_release);
        clock->tsc_base = tsc;
        clock->ns_base = ns;
        clock->mult = mult;
        atomic_thread_fence(memory_order_release);
        clock->seq = ++d->clock_seq;
    }
    d->tsc = tsc;
    d->ns = ns;
}

/* What the replica cannot ask the kernel. */
static void say_dropped(struct hostd *d)
{
    volatile struct ring_page *page = (struct ring_page *)(void *)d->h.memory;

    for (uint32_t i = 0; i < d->relays_n; i++) {
        const struct pktio *io = d->relays[i].io;

        page->kernel_dropped[i] = io->ops->dropped != NULL ? io->ops->dropped(io) : 0;
    }
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    share_clock(arg);
    say_dropped(arg);
}

static void on_gone(evutil_socket_t fd, short what, void *arg)
{
    struct hostd *d = arg;

    (void)fd;
    (void)what;
    (void)event_base_loopbreak(d->base);
}

/* Tells our log and the replica what the kernel refused, and why. */
static RESULT refuse(const char *what, const char *remedy)
{
    char text[HANDOVER_WHY];

    (void)snprintf(text, sizeof(text), "%s: %s%s", what, strerror(errno), remedy);
    (void)fail(EXIT_UNAVAILABLE, text);
    handover_refuse(SOCKET_FD, text);
    return ERR_IO;
}

static RESULT refuse_port(const struct hostd *d, const char *what, unsigned port)
{
    char text[HANDOVER_WHY];

    (void)snprintf(text, sizeof(text), "%s %s:%u", what, d->o.address, port);
    return refuse(text, "; free the port or configure another");
}

static RESULT refuse_dpdk(const char *why)
{
    char text[HANDOVER_WHY];

    (void)snprintf(text, sizeof(text), "--io dpdk: %.240s", why);
    (void)fprintf(stderr, "avocado-hostd: --io dpdk: %s\n", why);
    handover_refuse(SOCKET_FD, text);
    return ERR_IO;
}

static RESULT start_dpdk(struct hostd *d)
{
    const struct dpdk_node node = {.address = d->o.address,
                                   .port = d->o.data_port,
                                   .shards = d->o.shards,
                                   .datagram_bytes = DATAGRAM_DEFAULT};
    char why[DPDK_WHY];

    if (!d->o.is_dpdk || dpdk_open(&d->o.dpdk, &node, &d->dpdk, why) == OK) {
        return OK;
    }
    return refuse_dpdk(why);
}

static RESULT open_io(struct hostd *d, uint32_t shard)
{
    struct relay_loop *l = &d->relays[shard];
    uint16_t port = (uint16_t)(d->o.data_port + shard);
    char why[DPDK_WHY];

    if (d->dpdk != NULL) {
        return pktio_dpdk_open(d->dpdk, shard, &l->regions, &l->io, why) == OK ? OK
                                                                               : refuse_dpdk(why);
    }
    if (pktio_udp_open(d->o.address, port, &l->regions, &l->io) != OK) {
        return refuse_port(d, "cannot open UDP port", port);
    }
    if (d->index_key != 0 && index_gate_attach(l->io->ops->fd(l->io), d->index_key) != OK) {
        (void)fprintf(stderr,
                      "avocado-hostd: the kernel takes no filter for UDP port %u: forged datagrams "
                      "will cost more\n",
                      port);
    }
    return OK;
}

static RESULT start_relays(struct hostd *d)
{
    for (uint32_t i = 0; i < d->o.shards; i++) {
        struct relay_loop *l = &d->relays[i];

        l->polling = d->o.polling;
        if (relay_loop_init(l, &d->h, i) != OK) {
            errno = ENOMEM;
            return refuse("cannot start", "");
        }
        TRY(open_io(d, i));
        if (relay_loop_start(l) != OK) {
            return refuse("cannot start a thread", "");
        }
        d->relays_n++;
    }
    return OK;
}

static RESULT start(struct hostd *d)
{
    const struct timeval every = {.tv_usec = CLOCK_US};

    d->base = event_base_new();
    if (d->base == NULL || handover_make(SOCKET_FD, d->o.shards, &d->h) != OK) {
        return refuse("cannot make the rings", "");
    }
    TRY(start_dpdk(d));
    if (d->dpdk == NULL && getrandom(&d->index_key, sizeof(d->index_key), 0) > 0) {
        d->index_key |= 1;
        ((struct ring_page *)(void *)d->h.memory)->index_key = d->index_key;
    }
    TRY(start_relays(d));
    if (hostd_streams_open(d->base, &d->h, d->o.address, d->o.control_port, &d->streams) != OK) {
        return refuse_port(d, "cannot listen on TCP", d->o.control_port);
    }
    d->gone = event_new(d->base, SOCKET_FD, EV_READ, on_gone, d);
    d->clock = event_new(d->base, -1, EV_PERSIST, on_clock, d);
    if (d->gone == NULL || d->clock == NULL || event_add(d->gone, NULL) != 0 ||
        event_add(d->clock, &every) != 0 || handover_give(&d->h) != OK) {
        return refuse("cannot give the rings", "");
    }
    return OK;
}

static void stop(struct hostd *d)
{
    uint64_t full = 0;

    for (uint32_t i = 0; i < d->relays_n; i++) {
        relay_loop_stop(&d->relays[i]);
        full += d->relays[i].ring_full;
        d->relays[i].io->ops->close(d->relays[i].io);
    }
    dpdk_close(d->dpdk);
    if (full > 0) {
        (void)fprintf(stderr, "avocado-hostd: %" PRIu64 " packets found the ring full\n", full);
    }
}

/* The replica is stopped by its owner; we follow. A signal for the whole session is not for us. */
static int serve(struct hostd *d)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    if (start(d) != OK) {
        stop(d);
        return EXIT_UNAVAILABLE;
    }
    (void)event_base_dispatch(d->base);
    stop(d);
    return 0;
}

/* ---- two processes out of one ---- */

/* Nothing of what the replica inherits (its identity above all) is for the host. */
__attribute__((noreturn)) static void become_host(struct hostd *d, int socket)
{
    if (dup2(socket, SOCKET_FD) < 0 || close_range(SOCKET_FD + 1, ~0U, 0) != 0) {
        _exit(EXIT_UNAVAILABLE);
    }
    _exit(serve(d));
}

static int become_replica(const struct options *o, int socket)
{
    char number[16];
    size_t n = 0;
    char **argv;

    while (o->command[n] != NULL) {
        n++;
    }
    argv = calloc(n + 5, sizeof(*argv));
    if (argv == NULL) {
        return fail(EXIT_UNAVAILABLE, "out of memory");
    }
    (void)snprintf(number, sizeof(number), "%d", socket);
    memcpy(argv, o->command, n * sizeof(*argv));
    argv[n] = (char[]){"--io"};
    argv[n + 1] = (char[]){"ring"};
    argv[n + 2] = (char[]){"--ring-fd"};
    argv[n + 3] = number;
    (void)execvp(argv[0], argv);
    (void)fprintf(stderr, "avocado-hostd: cannot execute %s: %s\n", argv[0], strerror(errno));
    free(argv);
    return EXIT_UNAVAILABLE;
}

int main(int argc, char **argv)
{
    struct hostd *d = calloc(1, sizeof(*d));
    int pair[2], code = 0;
    pid_t pid;

    if (d == NULL) {
        return fail(EXIT_UNAVAILABLE, "out of memory");
    }
    d->o.shards = 1;
    if (!parse_options(argc, argv, &d->o, &code)) {
        free(d);
        return code;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0 || (pid = fork()) < 0) {
        (void)fprintf(stderr, "avocado-hostd: cannot start: %s\n", strerror(errno));
        free(d);
        return EXIT_UNAVAILABLE;
    }
    if (pid == 0) {
        (void)close(pair[0]);
        become_host(d, pair[1]);
    }
    (void)close(pair[1]);
    code = become_replica(&d->o, pair[0]);
    free(d);
    return code;
}
