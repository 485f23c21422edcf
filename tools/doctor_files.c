// SPDX-License-Identifier: Apache-2.0
/* What the files of /proc, /sys and /dev say about this machine. Paths are below a folder, so that
 * tests can imitate machines that nobody has at hand. */
#include "tools/doctor.h"
#include "tools/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TEXT_MAX = 1 << 20, /* /proc/cpuinfo of hundreds of processors; more of it is not needed */
    FOR_SGX = 1 << DOCTOR_SGX,
    FOR_SNP = 1 << DOCTOR_SNP,
    FOR_TDX = 1 << DOCTOR_TDX,
    EPC_WANTED_MIB = 256, /* a replica's 94 MiB budget, OpenSSL, and Gramine itself */
    RAM_WANTED_MIB = 1024,
};

static const char tsm_report[] = "sys/kernel/config/tsm/report";

struct machine {
    int root;
    const char *cpuinfo; /* or "" */
    bool in_gramine;
    char provider[32]; /* of configfs-tsm; empty: none that we could ask */
};

/* A text file without its last newline; NULL: none. The caller frees. */
static char *read_text(int root, const char *path)
{
    uint8_t *p = NULL;
    size_t n = 0;
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return NULL;
    }
    if (slurp(fd, TEXT_MAX, &p, &n) != SLURP_OK) {
        p = NULL;
    }
    (void)close(fd);
    if (p != NULL && n > 0 && p[n - 1] == '\n') {
        p[n - 1] = '\0';
    }
    return (char *)p;
}

/* Where the value of the first line "name : value" or "name: value" begins; NULL: none. */
static const char *find_field(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = text; p != NULL; p = strchr(p, '\n')) {
        const char *colon;

        p += *p == '\n';
        colon = strncmp(p, name, n) == 0 ? p + n + strspn(p + n, " \t") : p;
        if (colon != p && *colon == ':') {
            return colon + 1 + strspn(colon + 1, " \t");
        }
    }
    return NULL;
}

static bool has_flag(const struct machine *m, const char *flag)
{
    const char *p = find_field(m->cpuinfo, "flags");
    size_t n = strlen(flag);

    while (p != NULL && *p != '\n' && *p != '\0') {
        size_t word = strcspn(p, " \n");

        if (word == n && strncmp(p, flag, n) == 0) {
            return true;
        }
        p += word + (p[word] == ' ');
    }
    return false;
}

static bool exists(const struct machine *m, const char *path)
{
    return faccessat(m->root, path, F_OK, 0) == 0;
}

static void examine_kernel(const struct machine *m, struct doctor_sheet *to)
{
    char *release = read_text(m->root, "proc/sys/kernel/osrelease");
    const char *name = find_field(m->cpuinfo, "model name");

    doctor_text(to->kernel, sizeof(to->kernel), "Linux %s", release == NULL ? "?" : release);
    free(release);
    doctor_text(to->cpu, sizeof(to->cpu), "%.*s", name == NULL ? 1 : (int)strcspn(name, "\n"),
                name == NULL ? "?" : name);
    to->is_virtual = has_flag(m, "hypervisor");
    for (const char *p = m->cpuinfo; p != NULL; p = strstr(p + 1, "\nprocessor")) {
        to->processors += strncmp(p + (*p == '\n'), "processor", 9) == 0;
    }
}

/* A device that must be opened for reading and writing. */
static void examine_device(const struct machine *m, struct doctor_check *c, const char *path,
                           const char *remedy)
{
    if (faccessat(m->root, path, R_OK | W_OK, 0) == 0) {
        doctor_text(c->found, sizeof(c->found), "/%s", path);
        return;
    }
    if (errno == EACCES) {
        doctor_text(c->found, sizeof(c->found), "/%s: no permission", path);
        doctor_advise(c, DOCTOR_MISSING,
                      "run as a user of the device's group (ls -l shows it), or as root");
        return;
    }
    doctor_text(c->found, sizeof(c->found), "no /%s", path);
    doctor_advise(c, DOCTOR_MISSING, remedy);
}

static uint64_t epc_mib(const struct machine *m)
{
    uint64_t sum = 0;

    for (unsigned node = 0; node < 64; node++) {
        char path[64];
        char *text;

        (void)snprintf(path, sizeof(path), "sys/devices/system/node/node%u/x86/sgx_total_bytes",
                       node);
        text = read_text(m->root, path);
        sum += text == NULL ? 0 : strtoull(text, NULL, 10);
        free(text);
    }
    return sum >> 20;
}

/* Outside of an enclave: what Gramine needs to start one, and the host's service to make quotes. */
static void examine_sgx_host(const struct machine *m, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "sgx-cpu", FOR_SGX);
    uint64_t epc;

    doctor_text(c->found, sizeof(c->found), has_flag(m, "sgx") ? "sgx" : "no sgx in /proc/cpuinfo");
    if (!has_flag(m, "sgx")) {
        doctor_advise(c, DOCTOR_MISSING,
                      "an Intel Xeon with SGX, enabled in the BIOS with flexible launch control");
    }
    c = doctor_add(to, "sgx-device", FOR_SGX);
    examine_device(m, c, "dev/sgx_enclave",
                   "Linux 5.11 or later with CONFIG_X86_SGX, SGX enabled in the BIOS");
    c = doctor_add(to, "sgx-provision", FOR_SGX);
    examine_device(m, c, "dev/sgx_provision",
                   "comes with sgx-device; without it no evidence can be made");
    epc = epc_mib(m);
    if (epc > 0) {
        c = doctor_add(to, "sgx-memory", 0);
        doctor_text(c->found, sizeof(c->found), "%llu MiB", (unsigned long long)epc);
        if (epc < EPC_WANTED_MIB) {
            doctor_advise(c, DOCTOR_WORSE,
                          "give SGX more memory in the BIOS (PRMRR size): beyond it the kernel "
                          "pages, slowly");
        }
    }
    c = doctor_add(to, "sgx-quotes", FOR_SGX);
    doctor_text(c->found, sizeof(c->found), "/var/run/aesmd/aesm.socket");
    if (!exists(m, "var/run/aesmd/aesm.socket")) {
        doctor_text(c->found, sizeof(c->found), "no /var/run/aesmd/aesm.socket");
        doctor_advise(c, DOCTOR_MISSING,
                      "install and start Intel's sgx-aesm-service with its DCAP quote plug-in");
    }
}

static void examine_gramine(const struct machine *m, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "sgx-gramine", FOR_SGX);
    char *type = read_text(m->root, "dev/attestation/attestation_type");

    doctor_text(c->found, sizeof(c->found), "in an enclave of Gramine, attestation_type %s",
                type == NULL ? "?" : type);
    if (type == NULL || strcmp(type, "dcap") != 0) {
        doctor_advise(c, DOCTOR_MISSING,
                      "sgx.remote_attestation = \"dcap\" in the Gramine manifest");
    }
    free(type);
}

/* Makes an entry, asks who answers, and removes it. */
static void ask_provider(struct machine *m, int dir)
{
    static const char name[] = "avocado-doctor";
    char *text = NULL;
    int entry = -1;

    if (mkdirat(dir, name, 0700) != 0 && errno != EEXIST) {
        return;
    }
    entry = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (entry >= 0) {
        text = read_text(entry, "provider");
        (void)close(entry);
    }
    (void)unlinkat(dir, name, AT_REMOVEDIR);
    if (text != NULL) {
        (void)snprintf(m->provider, sizeof(m->provider), "%s", text);
    }
    free(text);
}

static void examine_tsm(struct machine *m, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "configfs-tsm", FOR_SNP | FOR_TDX);
    int dir = openat(m->root, tsm_report, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0) {
        bool has_configfs = exists(m, "sys/kernel/config/.") && exists(m, "sys/kernel/config/tsm");

        doctor_text(c->found, sizeof(c->found), "no /%s", tsm_report);
        doctor_advise(c, DOCTOR_MISSING,
                      has_configfs
                          ? "Linux 6.7 or later with CONFIG_TSM_REPORTS"
                          : "in a confidential guest with Linux 6.7 or later: modprobe configfs; "
                            "mount -t configfs none /sys/kernel/config; modprobe sev-guest or "
                            "tdx-guest");
        return;
    }
    doctor_text(c->found, sizeof(c->found), "/%s", tsm_report);
    if (faccessat(dir, ".", W_OK, 0) != 0) {
        doctor_advise(c, DOCTOR_WORSE,
                      "run as root, or let root make an entry (mkdir) for the service's user and "
                      "name it: --evidence snp:PATH");
    } else {
        ask_provider(m, dir);
    }
    (void)close(dir);
}

struct guest {
    const char *check, *provider, *device, *host_flag, *remedy, *on_host;
    uint8_t needed_by;
};

/* Whether this is a guest of that TEE, by who answers or, for those who may not ask, by its device.
 */
static void examine_guest(const struct machine *m, const struct guest *g, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, g->check, g->needed_by);

    if (strcmp(m->provider, g->provider) == 0) {
        doctor_text(c->found, sizeof(c->found), "configfs-tsm answers as %s", m->provider);
    } else if (m->provider[0] == '\0' && exists(m, g->device)) {
        doctor_text(c->found, sizeof(c->found), "/%s", g->device);
    } else if (has_flag(m, g->host_flag) && !has_flag(m, "hypervisor")) {
        doctor_text(c->found, sizeof(c->found),
                    "a host that can start such guests, and none itself");
        doctor_advise(c, DOCTOR_MISSING, g->on_host);
    } else {
        doctor_text(c->found, sizeof(c->found), "no /%s", g->device);
        doctor_advise(c, DOCTOR_MISSING, g->remedy);
    }
}

static void examine_guests(const struct machine *m, struct doctor_sheet *to)
{
    static const struct guest guests[] = {
        {"snp-guest", "sev_guest", "dev/sev-guest", "sev_snp",
         "start this machine as an SEV-SNP guest (AMD EPYC 7003 or later), then modprobe sev-guest",
         "run Avocado in an SEV-SNP guest of this host", FOR_SNP},
        {"tdx-guest", "tdx_guest", "dev/tdx_guest", "tdx_host_platform",
         "start this machine as a TDX guest (Xeon of the 4th generation or later), then modprobe "
         "tdx-guest",
         "run Avocado in a TDX guest of this host", FOR_TDX},
    };

    for (size_t i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
        examine_guest(m, &guests[i], to);
    }
}

static void examine_huge_pages(const struct machine *m, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "huge-pages", 0);
    char *text = read_text(m->root, "sys/kernel/mm/transparent_hugepage/enabled");
    bool always = text != NULL && strstr(text, "[always]") != NULL;
    bool madvise = text != NULL && strstr(text, "[madvise]") != NULL;

    doctor_text(c->found, sizeof(c->found), "transparent_hugepage: %s",
                always    ? "always"
                : madvise ? "madvise"
                          : "never");
    if (!always && !madvise) {
        doctor_advise(c, DOCTOR_WORSE,
                      "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: large stores "
                      "with --memory huge are faster");
    }
    free(text);
}

static void examine_ram(const struct machine *m, struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "memory", 0);
    char *text = read_text(m->root, "proc/meminfo");
    const char *kib = text == NULL ? NULL : find_field(text, "MemAvailable");
    unsigned long long mib = kib == NULL ? 0 : strtoull(kib, NULL, 10) >> 10;

    doctor_text(c->found, sizeof(c->found), "%llu MiB available", mib);
    if (mib < RAM_WANTED_MIB) {
        doctor_advise(c, DOCTOR_WORSE,
                      "give replicas less with --enclave-memory and --host-memory of avocado up");
    }
    free(text);
}

/* Reading the time is a plain memory access with these; with others it is a system call. */
static void examine_clock(const struct machine *m, struct doctor_sheet *to)
{
    static const char *const fast[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page",
                                       "arch_sys_counter"};
    char *text =
        read_text(m->root, "sys/devices/system/clocksource/clocksource0/current_clocksource");
    struct doctor_check *c = doctor_add(to, "clock", 0);
    bool good = false;

    for (size_t i = 0; text != NULL && i < sizeof(fast) / sizeof(fast[0]); i++) {
        good = good || strcmp(text, fast[i]) == 0;
    }
    doctor_text(c->found, sizeof(c->found), "%s", text == NULL ? "unknown" : text);
    if (!good) {
        doctor_advise(c, DOCTOR_WORSE,
                      "boot with clocksource=tsc where the processor has an invariant one: each "
                      "look at the clock is a system call now");
    }
    free(text);
}

void doctor_examine_files(int root, struct doctor_sheet *to)
{
    char *cpuinfo = read_text(root, "proc/cpuinfo");
    struct machine m = {.root = root, .cpuinfo = cpuinfo == NULL ? "" : cpuinfo};

    m.in_gramine = exists(&m, "dev/attestation/user_report_data");
    examine_kernel(&m, to);
    if (m.in_gramine) {
        examine_gramine(&m, to);
    } else {
        examine_sgx_host(&m, to);
    }
    examine_tsm(&m, to);
    examine_guests(&m, to);
    examine_huge_pages(&m, to);
    examine_ram(&m, to);
    examine_clock(&m, to);
    doctor_examine_nics(root, to);
    free(cpuinfo);
}
