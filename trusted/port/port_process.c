// SPDX-License-Identifier: Apache-2.0
#include "trusted/port/port.h"

#include "trusted/crypto/key.h"
#include "trusted/port/port_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447 /* the same number on all architectures that have it */
#endif

enum {
    PAGE = 4096,
    WINDOW_PAGES = 1024, /* looked at together when memory is wiped */
};

/* Set at start, by one thread; read only after that. */
static struct {
    enum port_memory_choice choice;
    enum port_memory_kind worst;
    char why[256];
} memory;

static void note(enum port_memory_kind kind, size_t bytes, const char *what, const char *remedy)
{
    int err = errno;

    if (kind > memory.worst) {
        memory.worst = kind;
    }
    if (memory.why[0] == 0) {
        (void)snprintf(memory.why, sizeof(memory.why), "%zu KiB of %s: %s; %s",
                       (bytes + 1023) / 1024, what, strerror(err), remedy);
    }
}

/* Limits of ours are as high as we may set them: what is mapped counts in full, touched or not. */
static void raise_lock_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    }
}

static void keep_out_of_children_and_dumps(void *p, size_t bytes)
{
    (void)madvise(p, bytes, MADV_DONTDUMP);
    (void)madvise(p, bytes, MADV_DONTFORK);
}

static void *map_secret(size_t bytes)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    void *p;

    if (fd < 0) {
        note(PORT_MEMORY_SECRET, bytes, "memfd_secret",
             "it needs Linux 5.14, and before 6.5 the boot parameter secretmem.enable=1");
        return NULL;
    }
    p = ftruncate(fd, (off_t)bytes) != 0
            ? MAP_FAILED
            : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        note(PORT_MEMORY_SECRET, bytes, "memfd_secret",
             "raise the limit of locked memory (LimitMEMLOCK=, ulimit -l)");
    }
    (void)close(fd); /* the mapping stays; no descriptor is left for anyone to borrow */
    return p == MAP_FAILED ? NULL : p;
}

static void *map_ordinary(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    /* Locks pages as they are touched: an idle store of a large budget costs little memory. */
    if (mlock2(p, bytes, MLOCK_ONFAULT) != 0) {
        note(PORT_MEMORY_PLAIN, bytes, "locked memory",
             "raise the limit of locked memory (LimitMEMLOCK=, ulimit -l)");
    } else if (memory.worst == PORT_MEMORY_SECRET) {
        memory.worst = PORT_MEMORY_LOCKED;
    }
    return p;
}

bool port_memory_choose(enum port_memory_choice choice)
{
    memory.choice = choice;
    raise_lock_limit();
    return port_openssl_init();
}

const char *port_memory_name(void)
{
    static const char *const names[] = {"secret", "locked", "plain"};

    return names[memory.worst];
}

const char *port_memory_why(void)
{
    if (memory.worst == PORT_MEMORY_SECRET) {
        return NULL;
    }
    return memory.why[0] != 0 ? memory.why : "huge pages were asked for instead";
}

void *port_memory_map(size_t bytes)
{
    void *p = NULL;

    if (memory.choice != PORT_MEMORY_HUGE) {
        p = map_secret(bytes);
    }
    if (p == NULL && memory.choice != PORT_MEMORY_MUST_HIDE) {
        p = map_ordinary(bytes);
    }
    if (p != NULL) {
        keep_out_of_children_and_dumps(p, bytes);
    }
    return p;
}

/* Only what was ever touched: wiping a page that never was would allocate it first. Pages that may
 * have been swapped out look untouched and are wiped all the same. */
static void wipe_touched(uint8_t *p, size_t bytes)
{
    unsigned char in_core[WINDOW_PAGES];

    for (size_t at = 0; at < bytes; at += (size_t)WINDOW_PAGES * PAGE) {
        size_t left = bytes - at;
        size_t n = left < sizeof(in_core) * PAGE ? left : sizeof(in_core) * PAGE;
        bool known = memory.worst != PORT_MEMORY_PLAIN && mincore(p + at, n, in_core) == 0;

        for (size_t i = 0; i < n; i += PAGE) {
            if (!known || (in_core[i / PAGE] & 1) != 0) {
                wipe(p + at + i, n - i < PAGE ? n - i : PAGE);
            }
        }
    }
}

void port_memory_unmap(void *p, size_t bytes)
{
    wipe_touched(p, bytes);
    (void)munmap(p, bytes);
}

void *port_stack_map(size_t bytes)
{
    uint8_t *p = port_memory_map(bytes + PAGE);

    if (p == NULL) {
        return NULL;
    }
    (void)mprotect(p, PAGE, PROT_NONE);
    return p + PAGE;
}

void port_stack_unmap(void *stack, size_t bytes)
{
    wipe_touched(stack, bytes);
    (void)munmap((uint8_t *)stack - PAGE, bytes + PAGE);
}

void port_harden(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

const char *port_tee(void)
{
    return "software";
}

bool port_is_protected(void)
{
    return false;
}
