// SPDX-License-Identifier: Apache-2.0
#include "daemons/mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MTU = 9216,
    SLOT_BYTES = 9344, /* of a link: the longest frame, in lines */
    SLOTS_LOG2 = 9,
    BASE_MIB = 64,
    LINK_MIB = 12, /* buffers of one link and shard */
};

__attribute__((format(printf, 2, 3))) static bool add(struct mesh *m, const char *format, ...)
{
    size_t at = strlen(m->eal);
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(m->eal + at, sizeof(m->eal) - at, format, args);
    va_end(args);
    return n >= 0 && (size_t)n < sizeof(m->eal) - at;
}

/* Local, and made of both nodes: nobody else is on the link. */
static void format_mac(char to[static 18], uint32_t from, uint32_t with)
{
    (void)snprintf(to, 18, "02:61:%02x:%02x:%02x:%02x", from >> 8 & 255, from & 255,
                   with >> 8 & 255, with & 255);
}

static bool add_link(struct mesh *m, const struct cluster *c, uint8_t self, uint32_t peer, int dir)
{
    const struct cluster_member *us = &c->members[self], *them = &c->members[peer];
    bool serves = us->node < them->node;
    const uint32_t low = serves ? us->node : them->node, high = serves ? them->node : us->node;
    const char *bits = strchr(us->address, ':') != NULL ? "128" : "32";
    const char *their_bits = strchr(them->address, ':') != NULL ? "128" : "32";
    char our_mac[18], their_mac[18], name[64], text[512], why[DPDK_WHY];

    (void)snprintf(name, sizeof(name), "memif-%" PRIu32 "-%" PRIu32, low, high);
    if (serves) {
        (void)unlinkat(dir, name, 0); /* of a process that was killed */
    }
    format_mac(our_mac, us->node, them->node);
    format_mac(their_mac, them->node, us->node);
    /* A name by way of the descriptor: the path of a socket may be no longer than 107 bytes. */
    if (!add(m,
             " --vdev=net_memif%" PRIu32 ",id=0,role=%s,socket=/proc/self/fd/%d/%s,"
             "socket-abstract=no,bsize=%d,rsize=%d,mac=%s",
             peer, serves ? "server" : "client", dir, name, SLOT_BYTES, SLOTS_LOG2, our_mac)) {
        return false;
    }
    (void)snprintf(text, sizeof(text),
                   "net_memif%" PRIu32 ",ip=%s/%s,to=%s/%s@%u-%" PRIu32 ",mac=%s,mtu=%d", peer,
                   us->address, bits, them->address, their_bits, them->data_port,
                   them->data_port + c->shards - 1, their_mac, MTU);
    return dpdk_port_parse(text, &m->options, why) == OK;
}

RESULT mesh_make(const struct cluster *c, uint8_t self, const char *dir, const char *eal,
                 struct mesh *ret, struct explain *why)
{
    uint32_t mib = BASE_MIB + c->shards * c->members_n * LINK_MIB;
    int fd =
        open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC); /* stays: the links' names go through it */
    bool fits;

    memset(ret, 0, sizeof(*ret));
    if (fd < 0) {
        (void)snprintf(why->text, sizeof(why->text), "cannot open the folder %.256s: %s", dir,
                       strerror(errno));
        return ERR_IO;
    }
    fits = eal != NULL ? add(ret, "%s", eal)
                       : add(ret,
                             "--no-huge -m %" PRIu32 " --no-pci --no-shconf --no-telemetry "
                             "--log-level=*:error --log-level=pmd.net.memif:critical",
                             mib);
    for (uint32_t i = 0; i < c->members_n && fits; i++) {
        fits = i == self || add_link(ret, c, self, i, fd);
    }
    if (!fits) {
        (void)snprintf(why->text, sizeof(why->text), "more words for EAL than %d bytes",
                       MESH_EAL_MAX);
        return ERR_USAGE;
    }
    ret->options.eal = ret->eal;
    ret->options.has_kernel = true;
    return OK;
}
