// SPDX-License-Identifier: Apache-2.0
/* What only trying tells: memory that the kernel hides, limits, sockets, the code path of AES. */
#include "tools/doctor.h"
#include "trusted/crypto/aead.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

enum {
    PAGE = 4096,
    /* One replica of the default budget: 94 MiB of store, 64 of OpenSSL, sessions and stacks. */
    LOCKED_WANTED_MIB = 192,
};

static void examine_crypto(struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(
        to, "crypto", 1 << DOCTOR_SOFTWARE | 1 << DOCTOR_SGX | 1 << DOCTOR_SNP | 1 << DOCTOR_TDX);
    enum aead_impl best = aead_best();
    struct aead *a = aead_open_impl(best);

    if (a == NULL) {
        doctor_text(c->found, sizeof(c->found), "no AES-256-GCM that passes its self-test");
        doctor_advise(c, DOCTOR_MISSING, "install OpenSSL 3 as Debian has it");
        return;
    }
    doctor_text(c->found, sizeof(c->found), "AES-256-GCM by %s", aead_name(a));
    if (best != AEAD_IPSEC_MB) {
        doctor_advise(c, DOCTOR_WORSE,
                      "a processor with AES and PCLMULQDQ and libipsec-mb: several times faster");
    }
    aead_close_impl(a);
}

/* One page, touched: that is what a replica does with all of its memory. */
static void examine_secret_memory(struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "memfd_secret", 0);
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    uint8_t *p;

    if (fd < 0) {
        doctor_text(c->found, sizeof(c->found), "memfd_secret: %s", strerror(errno));
        doctor_advise(c, DOCTOR_WORSE,
                      "Linux 5.14 or later, before 6.5 with the boot parameter "
                      "secretmem.enable=1: else root reads enclave memory through /proc");
        return;
    }
    p = ftruncate(fd, PAGE) != 0 ? MAP_FAILED
                                 : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (p == MAP_FAILED) {
        doctor_text(c->found, sizeof(c->found), "no page of it may be mapped: %s", strerror(errno));
        doctor_advise(c, DOCTOR_WORSE, "raise the limit of locked memory, see locked-memory");
        return;
    }
    *(volatile uint8_t *)p = 1;
    (void)munmap(p, PAGE);
    doctor_text(c->found, sizeof(c->found), "works");
}

static bool has_ipc_lock(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capget, &head, data) == 0 &&
           (data[CAP_IPC_LOCK / 32].effective >> (CAP_IPC_LOCK % 32) & 1) != 0;
}

static void examine_locked_memory(struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "locked-memory", 0);
    struct rlimit limit = {0};

    if (has_ipc_lock()) {
        doctor_text(c->found, sizeof(c->found), "unlimited (CAP_IPC_LOCK)");
        return;
    }
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_max == RLIM_INFINITY) {
        doctor_text(c->found, sizeof(c->found), "unlimited");
        return;
    }
    doctor_text(c->found, sizeof(c->found), "%llu MiB", (unsigned long long)limit.rlim_max >> 20);
    if (limit.rlim_max >> 20 < LOCKED_WANTED_MIB) {
        doctor_advise(c, DOCTOR_WORSE,
                      "LimitMEMLOCK=infinity in the unit, ulimit -l unlimited, or --ulimit "
                      "memlock=-1 for containers: a replica of the default size wants 192 MiB, "
                      "else its memory may be swapped out and read");
    }
}

static void examine_trains(struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "udp-trains", 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 1400, on = 1;
    bool out = fd >= 0 && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) == 0;
    bool in = fd >= 0 && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0;

    doctor_text(c->found, sizeof(c->found), "UDP_SEGMENT %s, UDP_GRO %s", out ? "works" : "missing",
                in ? "works" : "missing");
    if (!out || !in) {
        doctor_advise(c, DOCTOR_WORSE,
                      "Linux 5.0 or later: else every datagram costs a packet's "
                      "way through the kernel");
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void examine_pidfd(struct doctor_sheet *to)
{
    struct doctor_check *c = doctor_add(to, "pidfd", 0);
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

    doctor_text(c->found, sizeof(c->found), fd >= 0 ? "works" : "missing");
    if (fd < 0) {
        doctor_advise(c, DOCTOR_WORSE,
                      "Linux 5.3 or later: else no local attestation, every process needs "
                      "evidence of its own");
        return;
    }
    (void)close(fd);
}

void doctor_examine_process(struct doctor_sheet *to)
{
    examine_crypto(to);
    examine_secret_memory(to);
    examine_locked_memory(to);
    examine_trains(to);
    examine_pidfd(to);
    doctor_examine_module(to);
}
