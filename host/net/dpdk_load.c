// SPDX-License-Identifier: Apache-2.0
/* DPDK and its dozen of libraries come into a process only when they are asked for. */
#include "host/net/dpdk.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char file_name[] = "avocado-dpdk.so";
static const struct dpdk_module *module;

/* Beside this program, where a build leaves it. */
static bool path_beside(char to[static PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", to, PATH_MAX - sizeof(file_name));
    char *slash;

    if (n <= 0) {
        return false;
    }
    to[n] = 0;
    slash = strrchr(to, '/');
    if (slash == NULL) {
        return false;
    }
    memcpy(slash + 1, file_name, sizeof(file_name));
    return access(to, F_OK) == 0;
}

static RESULT load(char why[static DPDK_WHY])
{
    char path[PATH_MAX];
    void *so;

    if (!path_beside(path)) {
        (void)snprintf(path, sizeof(path), "%s/%s", AVOCADO_LIBDIR, file_name);
    }
    if (access(path, F_OK) != 0) {
        (void)snprintf(
            why, DPDK_WHY,
            "there is no %s; install libdpdk-dev (scripts/packages dpdk) and build again "
            "(meson setup --reconfigure), or use --io udp",
            file_name);
        return ERR_IO;
    }
    so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    module = so == NULL ? NULL : dlsym(so, "dpdk_module");
    if (module == NULL) {
        (void)snprintf(why, DPDK_WHY, "%.300s; install the libraries of DPDK 22.11", dlerror());
        return ERR_IO;
    }
    if (strcmp(module->version, AVOCADO_VERSION) != 0) {
        (void)snprintf(why, DPDK_WHY, "%.256s is of version %.32s, this is %s", path,
                       module->version, AVOCADO_VERSION);
        module = NULL;
        return ERR_IO;
    }
    return OK;
}

RESULT dpdk_open(const struct dpdk_options *o, const struct dpdk_node *node, struct dpdk **ret,
                 char why[static DPDK_WHY])
{
    *ret = NULL;
    TRY(module == NULL ? load(why) : OK);
    return module->open(o, node, ret, why);
}

RESULT pktio_dpdk_open(struct dpdk *d, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret, char why[static DPDK_WHY])
{
    return module->open_shard(d, shard, regions, ret, why);
}

void dpdk_close(struct dpdk *d)
{
    if (d != NULL) {
        module->close(d);
    }
}
