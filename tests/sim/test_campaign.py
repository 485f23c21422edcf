#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The campaign script runs the seeds it was told, all of them once, and reports those that fail,
also when the simulator dies in the middle. usage: test_campaign.py CAMPAIGN SIM
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# A simulator that fails seed 105, and ends with a failed check at 112 and without a word at 117.
FAKE = """#!/usr/bin/env python3
import json, sys
a = sys.argv
first, n = int(a[a.index("--seed") + 1]), int(a[a.index("--seeds") + 1])
out = {"held": True, "seeds": n, "twice": 0, "operations": n, "unknown": 0, "refused": 0, "events": n}
for seed in range(first, first + n):
    replay = f"avocado-sim --seed {seed} -v"
    if seed == 112:
        sys.exit(print(f"CHECK(x) failed at y:1. Replay: {replay}", file=sys.stderr) or 3)
    if seed == 117:
        sys.exit(11)
    if seed == 105:
        done = seed - first + 1
        out.update(held=False, seeds=done, operations=done, events=done, verdict="WRONG", seed=seed,
                   why="planted", replay=replay)
        break
print(json.dumps(out))
sys.exit(0 if out["held"] else 1)
"""


def campaign(script, sim, *more):
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        done = subprocess.run([script, "--sim", sim, "--results", results, "--quiet", *more],
                              capture_output=True, text=True)
        return done.returncode, json.loads(results.read_text()), done.stdout


def main():
    script, sim = sys.argv[1:]
    code, r, out = campaign(script, sim, "--seeds", "12", "--jobs", "2", "--first", "500", "--ops", "40")
    assert code == 0 and r["seeds"] == 12 and r["failures"] == [], (code, r, out)
    assert r["operations"] >= 12 * 40, r

    with tempfile.TemporaryDirectory() as folder:
        fake = Path(folder) / "sim"
        fake.write_text(FAKE)
        os.chmod(fake, 0o755)
        code, r, out = campaign(script, str(fake), "--seeds", "30", "--jobs", "2", "--first", "100")
    failed = sorted(f["seed"] for f in r["failures"])
    assert code == 1 and failed == [105, 112, 117], (code, r, out)
    assert r["seeds"] >= 28, r
    print(out)


main()
