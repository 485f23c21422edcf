#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What libavocado shows: every function that avocado.h declares, and nothing else.
usage: exports.py HEADER MAP SHARED STATIC
"""

import re
import subprocess
import sys
from pathlib import Path


def defined(*nm_args):
    out = subprocess.run(["nm", *nm_args], check=True, capture_output=True, text=True).stdout
    names = [line.split() for line in out.splitlines()]
    return {n[-1].split("@")[0] for n in names if len(n) == 3 and n[1] in "TDBRVW"}


def main():
    header, symbol_map, shared, static = sys.argv[1:]
    declared = set(re.findall(r"AVO_API[^;]*?\b(avo_[a-z_]+)\(", Path(header).read_text()))
    listed = set(re.findall(r"^\s+(avo_[a-z_]+);", Path(symbol_map).read_text(), re.M))
    found = {
        "map": listed,
        "shared library": defined("-D", "--defined-only", shared),
        "static library": defined("-g", "--defined-only", static),
    }
    bad = False
    for where, names in found.items():
        for name in sorted(declared - names):
            print(f"{where}: {name} of avocado.h is missing")
            bad = True
        for name in sorted(names - declared):
            print(f"{where}: {name} is not in avocado.h")
            bad = True
    print(f"exports: {len(declared)} functions")
    return 1 if bad or not declared else 0


sys.exit(main())
