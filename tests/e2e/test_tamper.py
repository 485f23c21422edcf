# SPDX-License-Identifier: Apache-2.0
"""A process of the host that changes the memory of running replicas at full speed (tests/hostile/tamper)
while avocado-bench reads and writes: every answer is right or a typed refusal, what clients saw is
linearizable, nothing ends, and all is repaired.

AVOCADO_TAMPER_SECONDS is how long each attack lasts; the default is for every day."""

import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import BUILD, INDETERMINATE, INTEGRITY, OK, UNAVAILABLE, Case, Cluster, run, total

SECONDS = float(os.environ.get("AVOCADO_TAMPER_SECONDS", "1.5"))
AFTER_S = 1  # of load when the attack is over
MEMORY_ACTS = ("flip", "swap", "rollback", "erase", "race")


class Tamper(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.history = self.folder / "history"

    def load(self, c, records, seconds):
        words = (BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "mix", "--records", records,
                 "--uniform", "--value-size", 200, "--warmup", 0, "--seconds", seconds, "--clients", 3,
                 "--depth", 4, "--quiet", "--json", "-", "--history", self.history)
        return subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def strike(self, c, nodes, *acts):
        """An attacker for each of the nodes, side by side; what they did."""
        pids = [c.pid(n) for n in nodes]
        attackers = [subprocess.Popen([str(BUILD / "tests/hostile/tamper"), str(p), str(SECONDS), *acts],
                                      stdout=subprocess.PIPE) for p in pids]
        did = [json.loads(a.communicate(timeout=SECONDS + 60)[0]) for a in attackers]
        for d in did:
            for act in acts or MEMORY_ACTS:
                self.assertGreater(d[act], 0, act)
        self.assertEqual([c.pid(n) for n in nodes], pids)
        return did

    def attack(self, c, nodes, records, *acts, ready=lambda: True):
        """Load, an attack in the middle of it; the results of the load."""
        before = {n: c.pid(n) for n in (1, 2, 3)}
        load = self.load(c, records, SECONDS + 2 * AFTER_S)
        self.eventually("the load runs", lambda: total(c.shards(1), "shown") > 50 and ready(), 60)
        self.strike(c, nodes, *acts)
        out, err = load.communicate(timeout=SECONDS + 120)
        self.expect(run("avocado-sim", "--check-history", self.history, timeout=SECONDS * 10 + 120), OK)
        with open(self.history) as f:
            self.assertGreater(sum(json.loads(line)["ok"] is True for line in f), 500)
        for n, pid in before.items():
            os.kill(pid, 0)
            self.assertEqual(c.pid(n), pid, f"node {n} ended")
        self.assertEqual(c.status()[1]["voting"], 3)
        for n in nodes:
            self.assertGreater(total(c.shards(n), "integrity_failures"), 0)
        return load.returncode, json.loads(out), err.decode()

    def test_one_replica(self):
        """A minority: no client notices. Its files are cut short, too."""
        with Cluster("--arena-dir", self.folder, "--host-memory", "64M") as c:
            code, result, err = self.attack(c, (1,), 1000)
            self.assertEqual((code, result["errors"]), (OK, 0), err)
            shards = c.shards(1)
            self.assertGreater(total(shards, "repairs"), 0)
            self.assertGreater(total(shards, "arena_faults"), 0)
            self.eventually("all is repaired", lambda: total(c.shards(1), "damaged") == 0)

    def test_every_replica_at_once(self):
        """More than is promised to be repaired: refusals with their reason, nothing wrong, no end."""
        with Cluster("--arena-dir", self.folder, "--host-memory", "64M") as c:
            code, result, err = self.attack(c, (1, 2, 3), 1000, *MEMORY_ACTS)
            self.assertIn(code, (OK, UNAVAILABLE, INDETERMINATE, INTEGRITY), err)
            self.assertGreater(result["ops"], 500)
            lines = b"k1\tagain\nk2\tagain\nnew\tagain\n"
            self.expect(c.avocado("import", "-", stdin=lines), OK)
            for n in (1, 2, 3):
                self.expect(c.avocado("check", "--coordinator", n, "-", stdin=lines), OK)

    def test_pages_of_the_index(self):
        """Cold pages lie in host memory: the replica says what it lost, the others serve it."""
        with Cluster("--arena-dir", self.folder, "--enclave-memory", "8M", "--host-memory", "64M") as c:
            draw = random.Random(1)  # long keys beside those of the load, so that pages go out
            lines = "".join(f"k{i}{draw.randbytes(450).hex()}\tx\n" for i in range(8000))
            self.expect(c.avocado("import", "-", stdin=lines.encode()), OK)
            code, result, err = self.attack(
                c, (1,), 8000, *MEMORY_ACTS, ready=lambda: total(c.shards(1), "page_ins") > 200)
            self.assertEqual((code, result["errors"]), (OK, 0), err)
            deadline = time.monotonic() + 30
            while total(c.shards(1), "pages_lost") == 0:  # what nobody asked for was not missed yet
                self.assertLess(time.monotonic(), deadline, "no page was attacked")
                self.expect(c.avocado("scan", "--prefix", "k", "--limit", "20000"), OK)
            for i in draw.sample(range(8000), 20):
                self.expect(c.avocado("put", f"k{i}", "again"), OK)
                self.assertEqual(self.expect(c.avocado("get", f"k{i}"), OK).stdout, b"again")
            log = "".join(p.read_text() for p in c.dir.rglob("*1.log"))
            self.assertRegex(log, "INTEGRITY: shard 0: this host has changed")
