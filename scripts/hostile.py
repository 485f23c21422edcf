#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays the hostile network and the hostile host against a replica on this machine.

usage: hostile.py network HOST:PORT   datagrams: noise, guesses, and (as root) genuine ones that were
                                      recorded on loopback, sent again unchanged and changed
       hostile.py memory PID          flips bits all over the host memory of an avocadod (as root)
       hostile.py ring PID SECONDS    writes all over the rings of an avocado-hostd (as root): positions,
                                      records, lengths, old and swapped packets, the clock

Prints one line of JSON: what was done. For demonstrations and tests.
"""

import json
import mmap
import os
import random
import re
import socket
import struct
import sys
import time
from pathlib import Path

PAGE = 4096

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


def arena_files(pid):
    """The files that back the host memory of a process, if it has --arena-dir."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "avocado-arena" in os.readlink(fd):
                yield fd
        except OSError:
            continue


def pages_of_file(fd):
    """Where a file has pages."""
    position, end = 0, os.fstat(fd).st_size
    while position < end:
        try:
            position = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:
            break
        yield position
        position += PAGE


def pages_of_arena(pid):
    """Addresses of the pages of a process's anonymous arenas: of what asks for huge pages and for no reserve."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.M)
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for m in mappings:
            if {"hg", "nr"} <= set(m.partition("VmFlags:")[2].split()):
                begin, end = (int(x, 16) for x in m.split(None, 1)[0].split("-"))
                pagemap.seek(begin // PAGE * 8)
                entries = struct.unpack(f"<{(end - begin) // PAGE}Q", pagemap.read((end - begin) // PAGE * 8))
                yield from (begin + i * PAGE for i, entry in enumerate(entries) if entry >> 63)


def corrupt(fd, positions):
    """One bit in every 64 bytes of each page in use; returns the pages changed."""
    changed_n = 0
    for position in positions:
        page = bytearray(os.pread(fd, PAGE, position))
        if any(page):
            for i in range(5, len(page), 64):
                page[i] ^= 0x10
            os.pwrite(fd, page, position)
            changed_n += 1
    return changed_n


def memory(pid):
    changed_n = 0
    for arena in arena_files(pid):
        with open(arena, "r+b", buffering=0) as f:
            changed_n += corrupt(f.fileno(), pages_of_file(f.fileno()))
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as f:
        changed_n += corrupt(f.fileno(), pages_of_arena(pid))
    return {"pages": changed_n}


RING_PAGE, RING_LINE = 4096, 64  # docs/protocol/ring.md
STREAM_BYTES, PACKET_BYTES = RING_PAGE + (1 << 18), RING_PAGE + (1 << 20)


def ring_memory(pid):
    """The rings, as the host sees them."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "avocado-ring" in line:
            path = f"/proc/{pid}/map_files/{line.split()[0]}"
            with open(path, "r+b") as f:
                return mmap.mmap(f.fileno(), 0)
    raise SystemExit(f"no rings in process {pid}")


def strike(rng, m, ring, size):
    """One malice; `ring` is where a ring of packets to the replica lies."""
    data, room = ring + RING_PAGE, size - RING_PAGE
    produced, consumed = ring, ring + size + RING_LINE  # theirs to read: of the ring in, and out
    line = rng.randrange(room // RING_LINE) * RING_LINE
    kind = rng.randrange(8)
    if kind == 0:
        struct.pack_into("<Q", m, produced, rng.getrandbits(64))
    elif kind == 1:  # a jump that could be
        (now,) = struct.unpack_from("<Q", m, produced)
        struct.pack_into("<Q", m, produced, (now + RING_LINE * rng.randrange(200)) % (1 << 64))
    elif kind == 2:
        struct.pack_into("<Q", m, consumed, rng.getrandbits(64))
    elif kind == 3:
        struct.pack_into("<II", m, data + line, rng.choice((0, 40, 9000, 1 << 31, 0xffffffff)), 1)
    elif kind == 4:  # packets of former times, and at the wrong place
        other = rng.randrange(room // RING_LINE - 64) * RING_LINE
        target = rng.randrange(room // RING_LINE - 64) * RING_LINE
        m[data + target:data + target + 64 * RING_LINE] = m[data + other:data + other + 64 * RING_LINE]
    elif kind == 5:  # a changed bit
        m[data + line + rng.randrange(RING_LINE)] ^= 1 << rng.randrange(8)
    elif kind == 6:  # the clock
        struct.pack_into("<Q", m, RING_LINE + 8 * rng.randrange(4), rng.getrandbits(64))
    else:  # whoever sleeps
        struct.pack_into("<I", m, ring + 2 * RING_LINE, rng.getrandbits(1))


def ring(pid, seconds):
    rng, strikes, until = random.Random(1), 0, time.monotonic() + float(seconds)
    m = ring_memory(pid)
    first = RING_PAGE + 2 * STREAM_BYTES
    shards = (len(m) - first) // (2 * PACKET_BYTES)
    while time.monotonic() < until:
        # Now and then, so that there is something good left to attack.
        for _ in range(20):
            shard = rng.randrange(shards)
            strike(rng, m, first + shard * 2 * PACKET_BYTES, PACKET_BYTES)
            strikes += 1
        time.sleep(rng.random() * 0.03)
    return {"strikes": strikes}


def main():
    acts = {"network": (network, 1), "memory": (memory, 1), "ring": (ring, 2)}
    act, arguments = acts.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if act is None or len(sys.argv) != 2 + arguments:
        print(__doc__, file=sys.stderr)
        return 2
    print(json.dumps(act(*sys.argv[2:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
