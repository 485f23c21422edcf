# SPDX-License-Identifier: Apache-2.0
"""More nodes than a key has replicas: each holds its share, and only that moves when nodes come and go."""

import re
import subprocess
import tempfile
from pathlib import Path

from cluster import BUILD, NOT_FOUND, OK, UNAVAILABLE, Case, Cluster, run

GROUPS = 16


class Placement(Case):
    def groups(self, c):
        """The nodes that vote in each group of slots, from the signed configuration."""
        text = (c.dir / "cluster.yaml").read_text()
        return [frozenset(map(int, m.split())) for m in re.findall(r'voters: "([0-9 ]+)"', text)]

    def balanced(self, c, nodes):
        listed = c.members()
        slots = {m["node"]: m["slots"] for m in listed["members"]}
        self.assertEqual(sorted(slots), sorted(nodes))
        self.assertEqual(sum(slots.values()), 3 * 1024)
        self.assertLessEqual(max(slots.values()) - min(slots.values()), 1024 // GROUPS)

    def scan(self, c):
        done = self.expect(c.avocado("scan", "--prefix", "key"), OK)
        return done.stdout.decode().split()

    def total(self, c, part, name):
        """Over all shards of all nodes."""
        return sum(s[part][name] for row in c.status()[1]["nodes"] for s in row["report"]["shards"])

    def delete(self, c, numbers):
        for i in numbers:
            self.expect(c.avocado("put", f"gone{i}", "x"), OK)
            self.expect(c.avocado("del", f"gone{i}"), OK)

    def test_nodes_come_and_go_under_load(self):
        with Cluster("--rf", "3", nodes=6, restart=True) as c, tempfile.TemporaryDirectory() as d:
            table, history = Path(d) / "t.tsv", Path(d) / "history"
            names = [f"key{i}" for i in range(2000)]
            table.write_text("".join(f"{k}\tvalue of {k}\n" for k in names))
            self.expect(c.avocado("import", table), OK)
            self.assertEqual(self.scan(c), sorted(names))
            self.balanced(c, [1, 2, 3, 4, 5, 6])
            bench = subprocess.Popen(
                [BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "a", "--records", "500",
                 "--value-size", "64", "--seconds", "3", "--clients", "2", "--depth", "4",
                 "--history", history],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.eventually("the load is done", lambda: history.exists() and
                            b'"get"' in history.read_bytes(), 60)
            before = self.groups(c)
            self.delete(c, range(8))
            self.expect(c.member("add"), OK)
            after = self.groups(c)
            moved = [(b, a) for b, a in zip(before, after) if b != a]
            self.assertEqual(len(moved), GROUPS * 3 // 7, "other groups moved, too")
            for was, now in moved:
                self.assertEqual(now - was, {7})
            self.balanced(c, [1, 2, 3, 4, 5, 6, 7])
            self.delete(c, range(8, 16))
            self.expect(c.member("remove", "2"), OK)
            for was, now in zip(after, self.groups(c)):
                self.assertTrue(was == now or 2 in was or len(was & now) == 2)
            self.balanced(c, [1, 3, 4, 5, 6, 7])
            c.kill(4)
            self.delete(c, range(16, 20))
            self.assertEqual(self.scan(c), sorted(names))
            self.eventually("all vote", c.whole)
            _, said = bench.communicate(timeout=60)
            self.assertEqual(bench.returncode, OK, said.decode(errors="replace"))
            self.expect(run("avocado-sim", "--check-history", history), OK, "linearizable")
            self.assertEqual(self.scan(c), sorted(names))
            self.expect(c.avocado("check", table), OK)
            self.eventually("no tombstones are left", lambda: self.total(c, "store", "tombstones") == 0)
            self.assertGreaterEqual(self.total(c, "abd", "collected"), 3 * 4)
            self.expect(c.avocado("get", "gone0"), NOT_FOUND)
            self.expect(c.avocado("putnx", "gone0", "1"), OK)

    def test_two_dead_nodes_take_some_slots_with_them(self):
        with Cluster("--rf", "3", nodes=4) as c, tempfile.TemporaryDirectory() as d:
            table = Path(d) / "t.tsv"
            table.write_text("".join(f"k{i}\tv{i}\n" for i in range(200)))
            self.expect(c.avocado("import", table), OK)
            dead = sorted(self.groups(c)[0])[1:]
            lost = sum(len(g & set(dead)) == 2 for g in self.groups(c)) * (1024 // GROUPS)
            for node in dead:
                c.kill(node)
            _, status = c.status("--timeout", "0.5")
            self.assertEqual(status["slots_unserved"], lost)
            self.assertFalse(status["majority"])
            done = c.avocado("--timeout", "0.5", "mget", *(f"k{i}" for i in range(200)))
            self.assertEqual(done.returncode, UNAVAILABLE)
            self.assertGreater(done.stdout.count(b"v"), 200 * (1024 - lost) // 1024 // 2)
