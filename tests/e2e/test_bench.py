# SPDX-License-Identifier: Apache-2.0
"""avocado-bench: every workload, its JSON, and histories that hold."""

import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, Cluster, ClusterCase, hostile, run


class Bench(ClusterCase):
    def bench(self, *args):
        return run("avocado-bench", "--cluster", self.cluster.yaml, "--quiet", *args)

    def test_every_workload(self):
        for name in ("put", "get", "a", "b", "c", "d", "e", "f", "mix", "rmw", "incr"):
            done = self.bench("--workload", name, "--records", 500, "--seconds", "0.3", "--warmup",
                              0, "--clients", 3, "--depth", 4, "--json", "-")
            out = json.loads(self.expect(done, OK).stdout)
            for field in ("ops_per_s", "ops", "errors", "p50_us", "p99_us", "p999_us", "by_op",
                          "config"):
                self.assertIn(field, out)
            self.assertGreater(out["ops"], 0, name)
            self.assertEqual(out["errors"], 0, out["errors_by_status"])
            self.assertEqual(out["config"]["workload"], name)
            self.assertEqual(sum(o["ops"] for o in out["by_op"].values()), out["ops"])
            self.assertLessEqual(out["p50_us"], out["p99_us"])
            if name == "e":
                self.assertGreater(out["scanned"], out["by_op"]["scan"]["ops"])
            if name not in ("mix", "rmw"):
                self.assertLess(out["not_found"], out["ops"] / 10 + 5)

    def test_usage(self):
        for args in (["--workload", "zz"], ["--clients", 0], ["--key-size", 3], ["--zipf", 1],
                     ["--coordinator", 9], ["extra"], ["--rate", 0], ["--merge"],
                     ["--merge", "/dev/null"], ["--workload", "e", "--history", "/dev/null"],
                     ["--processes", 2, "--history", "/dev/null"]):
            self.expect(self.bench(*args), USAGE)

    def test_processes_report_and_merge(self):
        with tempfile.TemporaryDirectory() as d:
            one = Path(d) / "one.json"
            done = self.bench("--workload", "a", "--records", 300, "--seconds", "1.2", "--warmup", 0,
                              "--clients", 5, "--processes", 3, "--depth", 2, "--json", one, "--csv",
                              Path(d) / "seconds.csv", "--report", Path(d) / "report")
            self.expect(done, OK)
            out = json.loads(one.read_text())
            self.assertEqual(out["errors"], 0, out["errors_by_status"])
            self.assertEqual(out["config"]["processes"], 3)
            for kind in out["by_op"].values():
                self.assertEqual(sum(n for _, n in kind["histogram_ns"]), kind["ops"])
            rows = (Path(d) / "seconds.csv").read_text().splitlines()
            self.assertEqual(rows[0].split(",")[:2], ["seconds", "ops"])
            counted = sum(int(row.split(",")[1]) for row in rows[1:])
            self.assertAlmostEqual(counted, out["ops"], delta=out["ops"] / 4)
            page = (Path(d) / "report" / "index.html").read_text()
            self.assertEqual(page.count("<svg"), 2)
            self.assertNotIn("http://", page)  # it needs nothing from elsewhere
            both = json.loads(self.expect(run("avocado-bench", "--merge", one, one, "--json", "-"),
                                          OK).stdout)
        self.assertEqual(both["ops"], 2 * out["ops"])
        self.assertAlmostEqual(both["ops_per_s"], 2 * out["ops_per_s"], delta=1)
        self.assertAlmostEqual(both["p99_us"], out["p99_us"], delta=out["p99_us"] / 50)

    def test_open_loop_counts_the_wait_of_everybody(self):
        """While the cluster stands still, a closed loop has a few slow operations; but everybody who would
        have come had to wait."""
        args = [BUILD / "avocado-bench", "--cluster", self.cluster.yaml, "--workload", "get",
                "--records", "100", "--seconds", "2.6", "--warmup", "0", "--clients", "1", "--depth",
                "4", "--rate", "1000", "--json", "-"]
        p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stderr.read(1)  # the first line of progress: one second is over
        for n in (1, 2):
            self.cluster.pause(n)
        time.sleep(0.4)
        for n in (1, 2):
            self.cluster.resume(n)
        out, _ = p.communicate(timeout=60)
        got = json.loads(out)
        self.assertEqual(got["config"]["loop"], "open")
        self.assertGreater(got["ops"] + got["behind"], 1000)
        slow = sum(n for top, n in got["by_op"]["get"]["histogram_ns"] if top > 50_000_000)
        self.assertGreater(slow, 100)  # far more than the four that were in flight

    def test_interrupt_prints_what_was_measured(self):
        p = subprocess.Popen(
            [BUILD / "avocado-bench", "--cluster", self.cluster.yaml, "--seconds", "60",
             "--records", "100", "--warmup", "0", "--json", "-"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stderr.read(1)  # the first line of progress: it runs
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, OK)
        self.assertTrue(json.loads(out)["interrupted"])


class History(ClusterCase):
    def test_history_is_complete_and_in_order(self):
        with tempfile.TemporaryDirectory() as d:
            path = Path(d) / "h.jsonl"
            done = run("avocado-bench", "--cluster", self.cluster.yaml, "--quiet", "--workload",
                       "mix", "--records", 4, "--seconds", "0.5", "--warmup", 0, "--clients", 4,
                       "--depth", 2, "--history", path, "--json", "-")
            measured = json.loads(self.expect(done, OK).stdout)
            ops = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertGreaterEqual(len(ops), measured["ops"] + 4)
        values = [o["value"] for o in ops if o["op"] == "put"]
        self.assertEqual(len(values), len(set(values)), "a value was written twice")
        written = set(values) | {None}
        busy_until = {}
        for o in sorted(ops, key=lambda o: o["invoke_ns"]):
            self.assertIn(o["op"], ("get", "put", "delete"))
            self.assertTrue(o["ok"])
            self.assertIn(o["result"], written)
            self.assertLessEqual(o["invoke_ns"], o["return_ns"])
            self.assertLessEqual(busy_until.get(o["client"], 0), o["invoke_ns"],
                                 "a sequential client overlaps with itself")
            busy_until[o["client"]] = o["return_ns"]


class HistoryUnderFaults(Case):
    """Real clients, real faults, and a checker that knows nothing of the protocol."""

    def test_linearizable_while_replicas_die_and_hosts_attack(self):
        with Cluster(nodes=5) as c, tempfile.TemporaryDirectory() as d:
            path = Path(d) / "h.jsonl"
            bench = subprocess.Popen(
                [BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "mix", "--records",
                 "8", "--seconds", "6", "--warmup", "0", "--clients", "5", "--depth", "2",
                 "--timeout", "1", "--history", path, "--json", "-"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            bench.stderr.read(1)  # progress: it runs
            for act in (lambda: hostile("memory", c.pid(1)),
                        lambda: c.pause(2),
                        lambda: hostile("network", "%s:%d" % c.address(1)),
                        lambda: c.resume(2),
                        lambda: c.kill(3),
                        lambda: hostile("memory", c.pid(4))):
                act()
                time.sleep(0.3)
            out, err = bench.communicate(timeout=60)
            self.assertEqual(bench.returncode, OK, err.decode())
            self.assertGreater(json.loads(out)["ops"], 1000)
            verdict = run("avocado-sim", "--check-history", path)
            self.expect(verdict, OK, "linearizable")

    def test_checker_finds_a_stale_read(self):
        lines = [("put", "a", None, 1, 2), ("put", "b", None, 3, 4), ("get", None, "a", 5, 6)]
        with tempfile.NamedTemporaryFile("w") as f:
            for op, value, result, invoke, end in lines:
                f.write(json.dumps({"client": 0, "op": op, "key": "k", "value": value,
                                    "expect": None, "ok": True, "result": result,
                                    "invoke_ns": invoke, "return_ns": end}) + "\n")
            f.flush()
            done = run("avocado-sim", "--check-history", f.name)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"NOT LINEARIZABLE: key k", done.stdout)


class NoCluster(Case):
    def test_unavailable(self):
        with Cluster() as c:
            self.expect(c.down(), OK)
            done = run("avocado-bench", "--cluster", c.yaml, "--timeout", "500ms")
            self.expect(done, UNAVAILABLE)
