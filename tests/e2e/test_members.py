# SPDX-License-Identifier: Apache-2.0
"""Members that die, come back as new ones, are added, replaced and removed while the store serves."""

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import BUILD, OK, REFUSED, UNAVAILABLE, USAGE, Case, Cluster, hostile, run


class Members(Case):
    def put(self, c, key, value):
        self.expect(c.avocado("put", key, value), OK)

    def get(self, c, key):
        return self.expect(c.avocado("get", key), OK).stdout.decode()

    def fill(self, c, directory, n):
        table = Path(directory) / "t.tsv"
        table.write_text("".join(f"key{i}\tvalue{i}\n" for i in range(n)))
        self.expect(c.avocado("import", table), OK)
        return table

    def incarnations(self, c):
        return {m["node"]: m["incarnation"] for m in c.members()["members"]}

    def test_each_replica_dies_once(self):
        """One after the other loses its memory; at the end nobody remembers the beginning, except the
        cluster."""
        with Cluster(restart=True) as c, tempfile.TemporaryDirectory() as d:
            table = self.fill(c, d, 3000)
            before = self.incarnations(c)
            for node in (1, 2, 3):
                c.kill(node)
                self.put(c, f"during{node}", "yes")
                self.eventually("it votes again", c.whole)
            after = self.incarnations(c)
            for node in (1, 2, 3):
                self.assertGreater(after[node], max(before.values()), "an incarnation came twice")
                self.assertEqual(self.get(c, f"during{node}"), "yes")
                self.expect(c.avocado("check", "--coordinator", node, table), OK)

    def test_a_replica_leaves_under_load(self):
        """MEM-14: SIGTERM, and no client notices."""
        with Cluster(restart=True) as c, tempfile.TemporaryDirectory() as d:
            before = self.incarnations(c)
            report = Path(d) / "report"
            bench = subprocess.Popen(
                [BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "mix", "--records", "500",
                 "--seconds", "3", "--clients", "4", "--depth", "8", "--json", report],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.eventually("there is load", lambda: sum(s["abd"]["puts"] for s in c.shards(2)) > 100)
            os.kill(c.pid(2), signal.SIGTERM)
            self.eventually("it is a new member", lambda: self.incarnations(c)[2] > before[2])
            _, said = bench.communicate(timeout=60)
            self.assertEqual(bench.returncode, OK, said.decode(errors="replace"))
            done = json.loads(report.read_text())
            self.assertGreater(done["ops"], 1000)
            self.assertEqual(done["errors"], 0, done)
            self.assertIn("stopped: 0 operations of clients were not finished",
                          (c.dir / "log/node-2.log").read_text())
            self.eventually("all vote", c.whole)

    def test_majority_lost(self):
        with Cluster(restart=True) as c:
            self.put(c, "k", "v")
            c.pause(1)  # or it would serve between the two deaths
            for node in (2, 3):
                c.kill(node)
            c.resume(1)
            self.eventually("it is noticed",
                            lambda: (c.members() or {}).get("health") == "majority_lost")
            listed = self.expect(c.member("list"), OK, "data at risk: majority lost", "accept-loss")
            self.assertIn(b"lost", listed.stdout)
            done = c.avocado("--timeout", "1", "get", "k")
            self.assertEqual(done.returncode, UNAVAILABLE, "it served without a majority")
            self.expect(c.up(), REFUSED, "majority lost")
            self.expect(c.member("accept-loss"), OK)
            self.eventually("it serves again", c.whole)
            self.assertEqual(self.get(c, "k"), "v")  # node 1 had it
            self.expect(c.member("accept-loss"), REFUSED, "no majority is lost")

    def test_supervisor_dies(self):
        """Members do without it; the next one takes them over and finds what has happened."""
        with Cluster(restart=True) as c:
            self.put(c, "k", "1")
            pid = c.supervisor_pid()
            os.kill(pid, signal.SIGKILL)
            c.kill(2)
            self.put(c, "k", "2")
            self.expect(c.member("list"), UNAVAILABLE, "no supervisor")
            self.expect(c.up(), OK)
            self.eventually("all vote", c.whole)
            self.assertEqual(self.get(c, "k"), "2")

    def test_sleeper_is_fenced(self):
        """A replica that slept while it was replaced neither votes nor answers, and stops."""
        with Cluster(restart=True) as c:
            self.put(c, "k", "1")
            pid = c.pid(2)
            handle = os.pidfd_open(pid)
            c.pause(2)
            self.expect(c.member("replace", "2", "7"), OK)
            self.put(c, "k", "2")
            os.kill(pid, signal.SIGCONT)
            self.ends(handle)
            os.close(handle)
            self.assertEqual(sorted(self.incarnations(c)), [1, 3, 7])
            self.assertEqual(self.get(c, "k"), "2")

    def node_lost_keys(self, c, node):
        return next(m.get("keys_lost", 0) for m in c.members()["members"] if m["node"] == node)

    def test_a_host_that_destroys_pages(self):
        """MEM-13: a replica whose pages the host destroyed says so and is made anew, under load; one
        at a time, and seldom."""
        draw = random.Random(3)
        lines = "".join(f"{draw.getrandbits(640):0160x}\tvalue{i}\n" for i in range(36000)).encode()
        some = b"".join(lines.splitlines(True)[:8000])  # touches nearly all pages
        with Cluster("--enclave-memory", "8M", restart=True) as c, tempfile.TemporaryDirectory() as d:
            self.expect(c.avocado("import", "-", stdin=lines), OK)
            self.assertGreater(c.shards(2)[0]["store"]["pages_cold"], 100)
            before = self.incarnations(c)
            history = Path(d) / "history"
            bench = subprocess.Popen(
                [BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "a", "--records", "500",
                 "--seconds", "3", "--clients", "1", "--depth", "2", "--history", history],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            hostile("memory", c.pid(2))
            self.expect(c.avocado("check", "--coordinator", 2, "-", stdin=some), OK)
            self.eventually("it is a new member", lambda: self.incarnations(c)[2] > before[2])
            self.eventually("all vote", c.whole)
            self.assertEqual(self.node_lost_keys(c, 2), 0)
            self.expect(c.avocado("check", "--coordinator", 2, "-", stdin=lines), OK)
            _, said = bench.communicate(timeout=60)
            self.assertEqual(bench.returncode, OK, said.decode(errors="replace"))
            self.expect(run("avocado-sim", "--check-history", history), OK, "linearizable")

            hostile("memory", c.pid(3))  # the next within seconds: reported, not obeyed
            self.expect(c.avocado("check", "--coordinator", 3, "-", stdin=some), OK)
            self.eventually("it is noticed", lambda: self.node_lost_keys(c, 3) > 0)
            self.expect(c.member("list"), OK, "keys lost to its host")
            self.expect(c.avocado("check", "--coordinator", 3, "-", stdin=some), OK)
            self.assertEqual(self.incarnations(c)[3], before[3])

    def test_three_five_three(self):
        with Cluster(restart=True) as c, tempfile.TemporaryDirectory() as d:
            table = self.fill(c, d, 1000)
            self.expect(c.member("factor", "5"), REFUSED, "add nodes first")
            self.expect(c.member("add"), OK, "standing by")
            self.expect(c.member("add"), OK)
            self.expect(c.member("factor", "5"), OK)
            self.assertEqual([m["role"] for m in c.members()["members"]], ["voter"] * 5)
            c.kill(1)
            c.kill(2)
            self.expect(c.avocado("check", table), OK)
            self.eventually("all five vote", c.whole)
            self.expect(c.member("remove", "5"), REFUSED, "factor")
            self.expect(c.member("factor", "3"), OK)
            self.expect(c.member("remove", "1"), OK)
            self.expect(c.member("remove", "5"), OK)
            self.assertEqual(sorted(self.incarnations(c)), [2, 3, 4])
            self.expect(c.avocado("check", table), OK)
            for bad in (["remove", "9"], ["add", "2"], ["factor", "2"], ["frobnicate"], ["add", "x"]):
                self.expect(c.member(*bad), USAGE)

    def test_the_only_node_is_replaced(self):
        """Of two voters one leaves, and stops before it can say so: that it has ended is enough."""
        with Cluster(nodes=1, restart=True) as c:
            self.put(c, "k", "v")
            self.expect(c.member("add", "2"), OK)
            self.expect(c.member("remove", "1"), OK)
            self.eventually("the new one votes alone", c.whole)
            self.assertEqual(sorted(self.incarnations(c)), [2])
            self.assertEqual(self.get(c, "k"), "v")

    def events(self, c):
        """What happens to the cluster under load: (name, what to do)."""
        def pause():
            c.pause(3)
            time.sleep(1.5)
            c.resume(3)

        def whole():
            self.eventually("all vote", c.whole, 60)

        return (("kill -9 of node 1", lambda: (c.kill(1), whole())),
                ("SIGSTOP of node 3 for 1.5 s", pause),
                ("SIGTERM of node 2", lambda: (os.kill(c.pid(2), signal.SIGTERM), time.sleep(0.5),
                                               whole())),
                ("replace node 3", lambda: self.expect(c.member("replace", "3"), OK)))

    def longest_gap_ms(self, operations, begin_ns, end_ns):
        """The longest time in which no operation succeeded."""
        ends = sorted(o["return_ns"] for o in operations
                      if o["return_ns"] is not None and begin_ns <= o["return_ns"] <= end_ns)
        return max((b - a for a, b in zip(ends, ends[1:])), default=0) / 1e6

    def test_nothing_is_lost_under_load(self):
        """Load with a deadline of a second while members come and go: no acknowledged write is lost,
        and what each event costs is printed."""
        with Cluster(restart=True) as c, tempfile.TemporaryDirectory() as d:
            history = Path(d) / "history"
            bench = subprocess.Popen(
                [BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "a", "--records", "5000",
                 "--value-size", "64", "--seconds", "14", "--clients", "2", "--depth", "4",
                 "--json", Path(d) / "json", "--history", history],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.eventually("the load is done", lambda: history.exists() and
                            b'"get"' in history.read_bytes(), 60)
            time.sleep(1)
            spans = []
            for name, happen in self.events(c):
                begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                happen()
                spans.append((name, begin, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
            _, said = bench.communicate(timeout=60)
            self.assertEqual(bench.returncode, OK, said.decode(errors="replace"))
            result = json.loads((Path(d) / "json").read_text())
            operations = [json.loads(line) for line in history.read_text().splitlines()]
            for name, begin, end in spans:
                print(f"    {name}: {(end - begin) / 1e9:.1f} s, longest gap "
                      f"{self.longest_gap_ms(operations, begin, end):.0f} ms", flush=True)
            print(f"    {result['ops']} operations, {result['errors']} errors, "
                  f"p99 {result['p99_us'] / 1000:.1f} ms", flush=True)
            judged = run("avocado-sim", "--check-history", history)
            self.expect(judged, OK, "linearizable")
            self.assertGreater(result["ops"], 1000, said)
