#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone, and its guard is its path.

usage: check_headers.py ROOT COMPILER...
"""

import concurrent.futures
import re
import subprocess
import sys
from pathlib import Path

import tree


def check(root, compiler, file):
    path = file.relative_to(root).as_posix()
    guard = re.sub(r"[^A-Za-z0-9]", "_", path).upper()
    errors = []
    # The public header stands in the include path of others under its own name alone.
    if not re.search(rf"^#ifndef ({guard}|{guard.split('_', 1)[1]})$", file.read_text(), re.M):
        errors.append(f"{path}:1: the include guard is not {guard}")
    done = subprocess.run(
        [*compiler, "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
         "-I", str(root), "-x", "c", "-"],
        input=f'#include "{path}"\n#include "{path}"\n', capture_output=True, text=True,
    )
    if done.returncode != 0:
        errors.append(f"{path}: does not compile alone:\n{done.stderr}")
    return errors


def main():
    root, compiler = Path(sys.argv[1]), sys.argv[2:]
    headers = tree.files(root, ".h")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda h: check(root, compiler, h), headers)
    return tree.finish(f"{len(headers)} headers", [e for errors in found for e in errors])


if __name__ == "__main__":
    sys.exit(main())
