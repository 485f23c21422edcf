#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every story in this folder holds, and some fail with the bug that they are about.

usage: run.py SIM
"""

import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

# A story, and a planted bug that it must notice.
NOTICED = [
    ("clone-fenced", "clone-votes"),
    ("copy-from-majority", "copy-from-one"),
    ("divergence", "divergence-quiet"),
    ("failed-compare", "local-compare"),
    ("memoryless-voter", "memoryless-voter"),
    ("partition", "quorum-of-one"),
    ("scan-across-a-crash", "scan-no-write-back"),
    ("sleeper-fenced", "no-epoch-fence"),
]

# Lines that are no steps, and a word of what is said about them.
WRONG_LINES = [("jump over 2", "no such step"), ("crash", "needs more words"), ("put k", "other arguments"),
               ("crash 9", "from 1 to 7"), ("run soon", "number"), ("nodes 2", "1, 3, 5 or 7")]


def tell(sim, path, *more):
    done = subprocess.run([sim, "--scenario", path, *more], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main():
    sim = sys.argv[1]
    stories = sorted(FOLDER.glob("*.txt"))
    failed = []
    for path in stories:
        code, out = tell(sim, path)
        print(out, end="")
        if code != 0 or tell(sim, path) != (code, out):
            failed.append(path.name)
    for name, plant in NOTICED:
        code, out = tell(sim, FOLDER / f"{name}.txt", "--plant", plant)
        if code != 1 or "WRONG" not in out:
            failed.append(f"{name} with {plant}: exit {code}: {out}")
    with tempfile.TemporaryDirectory() as folder:
        for line, said in WRONG_LINES:
            path = Path(folder) / "story.txt"
            path.write_text(f"\n{line}\nget k\n")
            code, out = tell(sim, path)
            if code != 64 or said not in out or "line 2" not in out:
                failed.append(f"'{line}': exit {code}: {out}")
    print(f"{len(stories)} stories, {len(NOTICED)} planted bugs, failed: {failed}")
    return 1 if failed or not stories else 0


sys.exit(main())
