# SPDX-License-Identifier: Apache-2.0
"""Read-modify-writes against real processes."""

import json
import subprocess
import tempfile
from pathlib import Path

from cluster import BUILD, NOT_FOUND, OK, USAGE, Cluster, Case, ClusterCase, run


class Rmw(ClusterCase):
    def said(self, code, *args, **kw):
        return self.expect(self.cluster.avocado(*args, **kw), code).stdout

    def test_compare_and_set(self):
        self.said(NOT_FOUND, "cas", "c", "old", "new")
        self.said(OK, "put", "c", "old")
        self.said(NOT_FOUND, "cas", "c", "other", "new")
        self.assertEqual(self.said(OK, "get", "c"), b"old")
        self.said(OK, "cas", "c", "old", "new")
        self.assertEqual(self.said(OK, "get", "c"), b"new")
        lost = json.loads(self.said(NOT_FOUND, "cas", "c", "old", "x", "--json"))
        self.assertEqual((lost["status"], lost["value"]), ("MISMATCH", "new"))

    def test_put_if_absent(self):
        self.said(OK, "putnx", "n", "first")
        self.said(NOT_FOUND, "putnx", "n", "second")
        self.assertEqual(self.said(OK, "get", "n"), b"first")
        self.said(OK, "del", "n")
        self.said(OK, "putnx", "n", "third")

    def test_increment(self):
        self.assertEqual(self.said(OK, "incr", "i"), b"1\n")
        self.assertEqual(self.said(OK, "incr", "i", "41"), b"42\n")
        self.assertEqual(self.said(OK, "incr", "i", "-50"), b"-8\n")
        self.said(USAGE, "incr", "i", "many")
        self.said(OK, "put", "i", "text")
        self.expect(self.cluster.avocado("incr", "i"), USAGE, "decimal")
        self.said(OK, "put", "i", str(2**63 - 1))
        self.expect(self.cluster.avocado("incr", "i"), USAGE, "64 bits")
        self.assertEqual(self.said(OK, "get", "i"), str(2**63 - 1).encode())

    def test_append_and_get_and_set(self):
        self.assertEqual(self.said(OK, "append", "a", "one"), b"3\n")
        self.assertEqual(self.said(OK, "append", "a", "-", stdin=b"\0two"), b"7\n")
        self.assertEqual(self.said(OK, "getset", "a", "next"), b"one\0two")
        self.assertEqual(self.said(OK, "get", "a"), b"next")
        first = json.loads(self.said(OK, "getset", "fresh", "v", "--json"))
        self.assertIsNone(first["value"])

    def test_delete_if(self):
        self.said(OK, "put", "d", "v")
        self.said(NOT_FOUND, "delif", "d", "w")
        self.said(OK, "delif", "d", "v")
        self.said(NOT_FOUND, "get", "d")
        self.said(NOT_FOUND, "delif", "d", "v")

    def test_32_clients_add_up(self):
        everybody = [self.cluster.start("incr", "shared", str(n)) for n in range(1, 33)]
        sums = set()
        for p in everybody:
            out, err = p.communicate(timeout=60)
            self.assertEqual(p.returncode, OK, err.decode())
            sums.add(int(out))
        self.assertEqual(len(sums), 32, "two increments saw the same sum")
        self.assertEqual(self.said(OK, "get", "shared"), str(32 * 33 // 2).encode())
        nodes = json.loads(self.said(OK, "status", "--json"))["nodes"]
        counted = sum(s["abd"]["rmws"] for n in nodes for s in n["report"]["shards"])
        self.assertGreaterEqual(counted, 32)


class RmwHistory(Case):
    def test_history_with_a_replica_killed_is_linearizable(self):
        with Cluster() as c, tempfile.TemporaryDirectory() as d:
            path = Path(d) / "h.jsonl"
            bench = subprocess.Popen(
                [BUILD / "avocado-bench", "--cluster", c.yaml, "--workload", "rmw", "--records",
                 "8", "--uniform", "--seconds", "2", "--warmup", "0", "--clients", "8",
                 "--history", path, "--json", "-"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            bench.stderr.read(1)  # progress: it runs
            c.kill(2)
            out, err = bench.communicate(timeout=60)
            self.assertEqual(bench.returncode, OK, err.decode())
            kinds = json.loads(out)["by_op"]
            self.assertGreater(kinds["incr"]["ops"], 50)
            self.assertGreater(kinds["cas"]["ops"], 50)
            self.expect(run("avocado-sim", "--check-history", path), OK, "linearizable")

    def test_checker_finds_a_lost_increment(self):
        with tempfile.NamedTemporaryFile("w") as f:
            for client, begin in enumerate((1, 2)):
                f.write(json.dumps({"client": client, "op": "incr", "key": "k", "value": "1",
                                    "expect": None, "ok": True, "result": "1",
                                    "invoke_ns": begin, "return_ns": begin + 5}) + "\n")
            f.flush()
            done = run("avocado-sim", "--check-history", f.name)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"NOT LINEARIZABLE: key k", done.stdout)
