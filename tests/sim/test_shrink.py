#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A failing run is made smaller and still fails, with the very command that is printed.

usage: test_shrink.py SIM PLANT LEVEL
"""

import json
import shlex
import subprocess
import sys


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout


def main():
    sim, plant, level = sys.argv[1:]
    common = ["--plant", plant, "--level", level, "--seeds", "100", "--twice", "1000", "--json"]
    code, out = run(sim, *common)
    assert code == 1, f"the plant was not found: {out}"
    big = json.loads(out)
    code, out = run(sim, *common, "--shrink")
    assert code == 1, out
    small = json.loads(out)
    assert small["seed"] == big["seed"] and small["verdict"] == big["verdict"], (small, big)

    replay = shlex.split(small["replay"])
    operations = int(replay[replay.index("--ops") + 1])
    assert operations < 75, f"still {operations} operations: {small['replay']}"
    code, out = run(sim, *replay[1:])
    assert code == 1 and small["why"] in out, f"exit {code}: {out[-500:]}"

    healthy = [w for i, w in enumerate(replay[1:]) if w != "--plant" and replay[i] != "--plant"]
    code, out = run(sim, *healthy)
    assert code == 0, f"without the plant: exit {code}: {out[-500:]}"
    print(f"{big['replay']}\n{small['replay']}")


main()
