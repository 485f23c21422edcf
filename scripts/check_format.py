#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C file is as clang-format would write it.

usage: check_format.py ROOT
"""

import shutil
import subprocess
import sys

import tree

SKIPPED = 77  # what meson takes for "cannot be checked here"


def main():
    root = sys.argv[1]
    if shutil.which("clang-format") is None:
        print("clang-format is not installed")
        return SKIPPED
    files = [str(f) for f in tree.files(root, ".c", ".h")]
    done = subprocess.run(
        ["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *files],
        capture_output=True, text=True,
    )
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    if done.returncode != 0 and not errors:
        errors = [done.stderr]
    if errors:
        errors.append("run scripts/fmt")
    return tree.finish(f"format of {len(files)} files", errors)


if __name__ == "__main__":
    sys.exit(main())
