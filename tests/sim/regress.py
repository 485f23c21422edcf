#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every line of regress/seeds.txt. usage: regress.py SIM FILE"""

import subprocess
import sys
from pathlib import Path


def main():
    sim, file = sys.argv[1:]
    failed = total = 0
    for line in Path(file).read_text().splitlines():
        options = line.split("#")[0].split()
        if not options:
            continue
        total += 1
        done = subprocess.run([sim, *options], capture_output=True, text=True)
        if done.returncode != 0:
            failed += 1
            print(f"{' '.join(options)}: exit {done.returncode}\n{done.stdout[-500:]}{done.stderr[-500:]}")
    print(f"{total} runs, {failed} failed")
    return 1 if failed or total == 0 else 0


sys.exit(main())
