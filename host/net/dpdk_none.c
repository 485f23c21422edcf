// SPDX-License-Identifier: Apache-2.0
/* Where libdpdk was not there at build time. */
#include "host/net/dpdk.h"

#include <stdio.h>

RESULT dpdk_open(const struct dpdk_options *o, const struct dpdk_node *node, struct dpdk **ret,
                 char why[static DPDK_WHY])
{
    (void)o;
    (void)node;
    *ret = NULL;
    (void)snprintf(
        why, DPDK_WHY,
        "this program was built without DPDK; install libdpdk-dev (scripts/packages dpdk) "
        "and build it again (meson setup --reconfigure), or use --io udp");
    return ERR_IO;
}

RESULT pktio_dpdk_open(struct dpdk *d, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret, char why[static DPDK_WHY])
{
    (void)d;
    (void)shard;
    (void)regions;
    *ret = NULL;
    (void)snprintf(why, DPDK_WHY, "built without DPDK");
    return ERR_IO;
}

void dpdk_close(struct dpdk *d)
{
    (void)d;
}
