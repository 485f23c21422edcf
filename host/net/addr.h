// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_ADDR_H
#define HOST_NET_ADDR_H

/* Addresses: text, the kernel's form, and the boundary's form. */

#include "boundary/abi.h"

#include <stdbool.h>
#include <sys/socket.h>

/* False unless `text` is an IPv4 or IPv6 literal. */
bool addr_parse(const char *text, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len);
/* Family 0 for anything that is not IPv4 or IPv6. */
void addr_from_sockaddr(const struct sockaddr *sa, struct abi_addr *ret);
enum { ADDR_TEXT = 64 };
/* "127.0.0.1:7000", "[::1]:7000"; empty for family 0. */
void addr_format(const struct abi_addr *a, char to[static ADDR_TEXT]);
/* The length of what was written, at most that of a sockaddr_in6; 0 for family 0. */
socklen_t addr_to_sockaddr(const struct abi_addr *a, struct sockaddr *ret);

#endif
