#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a pure archive may need and hold: no system call, clock, heap or stdio; no mutable global.

usage: check_symbols.py ROOT BUILD ARCHIVE...
"""

import fnmatch
import os
import subprocess
import sys

import tree


def symbols(archive):
    """(name, section) of each symbol of an archive; section None when it is undefined."""
    listing = subprocess.run(
        ["nm", "--format=sysv", archive], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        column = [c.strip() for c in line.split("|")]
        if len(column) == 7 and column[0] != "Name":
            yield column[0], None if column[2] in ("U", "w") else column[6]


def main():
    root, build, archives = sys.argv[1], sys.argv[2], sys.argv[3:]
    policy = tree.policy(root)["symbols"]
    errors, defined, needed = [], set(), set()
    for archive in archives:
        short = os.path.relpath(archive, build)
        for name, section in symbols(archive):
            if section is None:
                needed.add((short, name))
                continue
            defined.add(name)
            # Replicas share a process in the simulator, and shards do everywhere: all state
            # hangs from a struct that the caller placed.
            writable = section.startswith((".data", ".bss", ".tdata", ".tbss", "*COM*"))
            if writable and not section.startswith(".data.rel.ro"):
                errors.append(f"{short}: {name} is a mutable global ({section})")
    for short, name in sorted(needed):
        room = tree.longest(short, policy["by_room"])
        allowed = policy["allowed"] + policy["by_room"].get(room, [])
        if name not in defined and not any(fnmatch.fnmatchcase(name, a) for a in allowed):
            errors.append(f"{short}: needs {name}, which a pure room may not use")
    return tree.finish(f"symbols of {len(archives)} archives", errors)


if __name__ == "__main__":
    sys.exit(main())
