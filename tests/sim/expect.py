#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command and demands an exit code and a text in its output.

usage: expect.py CODE TEXT COMMAND...
"""

import subprocess
import sys


def main():
    code, text, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    done = subprocess.run(command, capture_output=True, text=True)
    out = done.stdout + done.stderr
    print(out[-4000:], end="")
    if done.returncode != code:
        print(f"expect: exit {done.returncode}, wanted {code}")
        return 1
    if text not in out:
        print(f"expect: no '{text}' in the output")
        return 1
    return 0


sys.exit(main())
