// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_HOSTILE_PKTIO_HOSTILE_H
#define TESTS_HOSTILE_PKTIO_HOSTILE_H

/*
 * A hostile network and host for the end-to-end tests: avocado-hostd with a switch in it that
 * loses, repeats, delays, reorders, changes, cuts, misdirects, records, replays and forges
 * datagrams to the replica, or in both directions, and that rewrites what it has just put into the
 * rings. Built from the sources of avocado-hostd; the linker puts these functions in the place of
 * the ones of the same name.
 *
 * $AVOCADO_HOSTILE_DIR/PORT says what to do, for instance "late 50 forge 1000"; it is looked at
 * again all the time, and without it the switch is honest:
 *
 *     lose twice late flip cut move replay   chances in a thousand, per datagram
 *     race                                   the same, per burst put into a ring
 *     forge                                  datagrams a second, made up
 *     waste                                  the same, made up and thrown away: what forging alone
 *                                            takes of the machine
 *     stall                                  milliseconds of silence, twice a second
 *     both                                   1: what leaves the replica too
 *
 * PORT.did says what was done: `told` how often it was written, `no_room` how many of the delivered
 * datagrams found the ring full, because the replica did not get its core for long, and went no
 * further. PORT.old keeps datagrams for the next process.
 */

#include "boundary/ring.h"
#include "host/net/pktio.h"

/* What the linker calls them: ld(1), --wrap. NOLINTBEGIN(bugprone-reserved-identifier) */
RESULT __real_pktio_udp_open(const char *address, uint16_t port, const struct abi_regions *regions,
                             struct pktio **ret);
RESULT __wrap_pktio_udp_open(const char *address, uint16_t port, const struct abi_regions *regions,
                             struct pktio **ret);
void __real_ring_publish(struct ring *r);
void __wrap_ring_publish(struct ring *r);
uint8_t *__real_ring_reserve(struct ring *r, uint32_t n);
uint8_t *__wrap_ring_reserve(struct ring *r, uint32_t n);
/* NOLINTEND(bugprone-reserved-identifier) */

/* Chance in a thousand that ring_publish is followed by lies. Any thread. */
void hostile_race(unsigned chance);
/* Packets for which a ring had no room. Any thread. */
uint64_t hostile_no_room(void);

#endif
