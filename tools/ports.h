// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_PORTS_H
#define TOOLS_PORTS_H

/*
 * Free ports on the loopback address, found by binding them: nothing keeps them free afterwards, so
 * whoever gets them must still say clearly when they are taken.
 */

#include <stdbool.h>
#include <stdint.h>

/* Whether [first, first + n) are free for UDP, and every `stride`-th of them for TCP. False:
 * *ret_busy is one that is not. */
bool ports_are_free(uint16_t first, uint16_t n, uint16_t stride, uint16_t *ret_busy);
/* Such a run anywhere below the kernel's ephemeral ports; 0 if there is none. */
uint16_t ports_find(uint16_t n, uint16_t stride);

#endif
