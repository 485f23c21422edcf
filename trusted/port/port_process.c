// SPDX-License-Identifier: Apache-2.0
#include "trusted/port/port.h"

#include "trusted/crypto/key.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void *port_memory_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(p, bytes, MADV_DONTDUMP);
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    /* Lock pages as they are touched: an idle store of a large budget costs little memory. Without
     * the privilege it stays swappable, which matters only where swap is not encrypted. */
    (void)mlock2(p, bytes, MLOCK_ONFAULT);
    return p;
}

void port_memory_unmap(void *memory, size_t bytes)
{
    wipe(memory, bytes);
    (void)munmap(memory, bytes);
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
