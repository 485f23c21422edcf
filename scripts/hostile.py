#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays the hostile network and the hostile host against a replica on this machine.

usage: hostile.py network HOST:PORT   datagrams: noise, guesses, and (as root) genuine ones that were
                                      recorded on loopback, sent again unchanged and changed
       hostile.py memory PID          flips bits all over the host memory of an avocadod

Prints one line of JSON: what was done. For demonstrations and tests.
"""

import json
import os
import random
import socket
import struct
import sys
import time
from pathlib import Path

VERSION_AND_TYPE = 1 << 4 | 1  # docs/protocol/rpc.md
GENERATIONS, SLOTS = 16, 32
CAPTURE_S, CAPTURE_MAX = 2.0, 64
LOOPBACK, ALL_PROTOCOLS = "lo", 3


def noise(rng):
    return [rng.randbytes(n) for n in range(0, 1400, 7)]


def guesses(rng):
    """The clear header is right, index and number are likely; the seal cannot be."""
    return [
        struct.pack("<BBHIQ", VERSION_AND_TYPE, 0, 0, generation << 20 | slot, 1 << 40)
        + rng.randbytes(48)
        for generation in range(GENERATIONS)
        for slot in range(SLOTS)
    ]


def capture(port):
    """Genuine datagrams to this UDP port, as the network sees them; none without the right."""
    found = []
    try:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS))
        s.bind((LOOPBACK, 0))
    except (OSError, AttributeError):
        return found
    with s:
        s.settimeout(0.2)
        until = time.monotonic() + CAPTURE_S
        while time.monotonic() < until and len(found) < CAPTURE_MAX:
            try:
                packet, address = s.recvfrom(65536)
            except TimeoutError:
                continue
            outgoing = address[2] == socket.PACKET_OUTGOING
            if outgoing or len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != 17:
                continue
            udp = packet[(packet[0] & 15) * 4:]
            if struct.unpack(">H", udp[2:4])[0] == port:
                found.append(udp[8:])
    return [d for d in found if 32 <= len(d) <= 8960]


def changed(rng, datagrams):
    """One bit changed, under a packet number that is yet to come: a number that was seen before is
    refused before anything else is looked at."""
    for d in datagrams:
        (number,) = struct.unpack_from("<Q", d, 8)
        for place in (1, 16, len(d) - 1, rng.randrange(16, len(d))):
            forged = bytearray(d)
            struct.pack_into("<Q", forged, 8, number + 4000)
            forged[place] ^= 1
            yield bytes(forged)


def network(where):
    host, port = where.rsplit(":", 1)
    rng = random.Random(1)
    genuine = capture(int(port))
    sent = {
        "noise": noise(rng),
        "guessed": guesses(rng),
        "replayed": genuine,
        "changed": list(changed(rng, genuine)),
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for datagrams in sent.values():
            for i, d in enumerate(datagrams):
                s.sendto(d, (host, int(port)))
                if i % 64 == 63:
                    time.sleep(0.002)  # so that the socket's buffer does not drop them unseen
    return {kind: len(datagrams) for kind, datagrams in sent.items()}


def arenas(pid):
    """The files that back the host memory of a process."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "avocado-arena" in os.readlink(fd):
                yield fd
        except OSError:
            continue


def corrupt(fd):
    """One bit in every 64 bytes of each page in use; returns the pages changed."""
    pages, position, end = 0, 0, os.fstat(fd).st_size
    while position < end:
        try:
            position = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:
            break
        page = bytearray(os.pread(fd, 4096, position))
        if any(page):
            for i in range(5, len(page), 64):
                page[i] ^= 0x10
            os.pwrite(fd, page, position)
            pages += 1
        position += 4096
    return pages


def memory(pid):
    pages = 0
    for arena in arenas(pid):
        with open(arena, "r+b", buffering=0) as f:
            pages += corrupt(f.fileno())
    return {"pages": pages}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("network", "memory"):
        print(__doc__, file=sys.stderr)
        return 2
    act = network if sys.argv[1] == "network" else memory
    print(json.dumps(act(sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
