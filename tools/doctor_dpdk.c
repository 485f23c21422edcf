// SPDX-License-Identifier: Apache-2.0
/* What --io dpdk needs: its module, memory for it, and NICs that may be taken from the kernel. */
#include "tools/doctor.h"
#include "tools/slurp.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 1 << 16 };

/* The number after `name` in a text of lines "name:   number ..."; 0: there is none. */
static unsigned long long number_of(const char *text, const char *name)
{
    const char *p = text == NULL ? NULL : strstr(text, name);

    return p == NULL ? 0 : strtoull(p + strlen(name), NULL, 10);
}

static void examine_pages(int root, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "dpdk-memory", 0);
    uint8_t *text = NULL;
    size_t n = 0;
    unsigned long long total, left, kib;

    if (slurp_at(root, "proc/meminfo", TEXT_MAX, &text, &n) != SLURP_OK) {
        text = NULL;
    }
    total = number_of((const char *)text, "HugePages_Total:");
    left = number_of((const char *)text, "HugePages_Free:");
    kib = number_of((const char *)text, "Hugepagesize:");
    free(text);
    doctor_text(c->found, sizeof(c->found), "%llu of %llu huge pages of %llu KiB free", left, total,
                kib);
    if (left == 0) {
        doctor_advise(c, DOCTOR_WORSE,
                      "sysctl vm.nr_hugepages=512 for --io dpdk on a NIC; without them --no-huge "
                      "among the words for EAL, which is slower (avocado up --io dpdk needs none)");
    }
}

static unsigned count_entries(int root, const char *path)
{
    int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    unsigned n = 0;

    if (d == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return 0;
    }
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(d);
    return n;
}

static void examine_vfio(int root, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "vfio", 0);
    bool has_vfio = faccessat(root, "dev/vfio/vfio", F_OK, 0) == 0;
    unsigned groups = count_entries(root, "sys/kernel/iommu_groups");

    doctor_text(c->found, sizeof(c->found), "/dev/vfio/vfio %s, %u IOMMU groups",
                has_vfio ? "is there" : "is missing", groups);
    if (!has_vfio) {
        doctor_advise(
            c, DOCTOR_WORSE,
            "modprobe vfio-pci, to give a NIC to --io dpdk (docs/dpdk.md); others need it "
            "not");
    } else if (groups == 0) {
        doctor_advise(c, DOCTOR_WORSE,
                      "boot with intel_iommu=on or amd_iommu=on: without an IOMMU a NIC of --io "
                      "dpdk could write over all of memory, and vfio refuses it");
    }
}

void doctor_examine_nics(int root, struct doctor_sheet *to)
{
    examine_pages(root, to);
    examine_vfio(root, to);
}

void doctor_examine_module(struct doctor_sheet *to)
{
    static const char name[] = "avocado-dpdk.so";
    struct doctor_check *c = doctor_add(to, "dpdk", 0);
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof(name) - 1);
    char *slash;
    void *so;

    path[n < 0 ? 0 : n] = '\0';
    slash = strrchr(path, '/');
    if (slash != NULL) {
        memcpy(slash + 1, name, sizeof(name));
    }
    if (slash == NULL || access(path, F_OK) != 0) {
        (void)snprintf(path, sizeof(path), "%s/%s", AVOCADO_LIBDIR, name);
    }
    if (access(path, F_OK) != 0) {
        doctor_text(c->found, sizeof(c->found), "not built in: no %s", name);
        doctor_advise(
            c, DOCTOR_WORSE,
            "for --io dpdk: scripts/packages dpdk, meson setup --reconfigure, build again");
        return;
    }
    so = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (so == NULL) {
        doctor_text(c->found, sizeof(c->found), "%.120s", dlerror());
        doctor_advise(c, DOCTOR_WORSE, "install the libraries of DPDK 22.11, for --io dpdk");
        return;
    }
    /* It stays: DPDK's libraries do not like to be taken away again. */
    doctor_text(c->found, sizeof(c->found), "%s and DPDK's libraries can be loaded", name);
}
