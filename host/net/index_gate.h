// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_INDEX_GATE_H
#define HOST_NET_INDEX_GATE_H

/*
 * A filter on a UDP socket: what cannot be a datagram of a session of ours (RPC-1, CTL-7) is
 * dropped in the kernel, wakes nobody and takes no room. Of indexes that somebody guesses one in
 * 256 passes. Of a train that the kernel put together the first datagram speaks for all.
 */

#include "common/result.h"

#include <stdint.h>

/* `key` as control_config.index_key has it; not 0. IO: the kernel has no filters; nothing has
 * changed, and nothing is lost but time. Any thread. */
RESULT index_gate_attach(int sock, uint32_t key);
/* Datagrams that the kernel dropped at this socket: by the filter, and for want of room. */
uint64_t index_gate_dropped(int sock);

#endif
