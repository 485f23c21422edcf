# SPDX-License-Identifier: Apache-2.0
"""Replicas that die, stop, and try to come back."""

import subprocess
import tempfile
import time
from pathlib import Path

from cluster import INDETERMINATE, OK, REFUSED, UNAVAILABLE, Case, Cluster, total


class Faults(Case):
    def put(self, c, key, value):
        self.expect(c.avocado("put", key, value), OK)

    def get(self, c, key):
        return self.expect(c.avocado("get", key), OK).stdout.decode()

    def test_one_of_three_killed(self):
        with Cluster() as c:
            self.put(c, "before", "1")
            for node in (1,):
                c.kill(node)
            self.assertEqual(self.get(c, "before"), "1")
            self.put(c, "before", "2")
            self.put(c, "after", "3")
            self.assertEqual(self.get(c, "before"), "2")
            self.assertEqual(self.get(c, "after"), "3")
            self.eventually("the others notice", lambda: c.status()[1]["voting"] == 2)

    def test_two_of_three_killed(self):
        with Cluster() as c:
            self.put(c, "k", "1")
            c.kill(1)
            c.kill(3)
            for command in (["put", "k", "2"], ["get", "k"], ["del", "k"]):
                began = time.monotonic()
                done = c.avocado("--timeout", "2", *command)
                self.assertIn(done.returncode, (UNAVAILABLE, INDETERMINATE), done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1)
                self.assertLess(time.monotonic() - began, 10, "a hang")
            self.assertEqual(c.status()[0], UNAVAILABLE)

    def test_paused_replica(self):
        """A minority that stands still delays nobody for ever, and catches up unharmed."""
        with Cluster() as c:
            self.put(c, "k", "1")
            c.pause(2)
            for i in range(5):
                self.put(c, "k", str(i))
                self.assertEqual(self.get(c, "k"), str(i))
            c.resume(2)
            self.eventually("all vote again", lambda: c.status()[1]["voting"] == 3)
            with tempfile.TemporaryDirectory() as d:
                table = Path(d) / "t.tsv"
                table.write_text("k\t4\n")
                for n in (1, 2, 3):
                    self.expect(c.avocado("check", "--coordinator", n, table), OK)

    def test_what_a_paused_replica_missed_comes_without_clients(self):
        """SYNC-1: nobody reads, and it comes to hold what the others hold."""
        def keys(node):
            return [shard["store"]["keys"] for shard in c.shards(node)]

        def seen_by(node):
            return [row["report"]["members_up"] for row in c.status()[1]["nodes"]
                    if row["node"] == node and row.get("report")]

        with Cluster() as c:
            c.pause(3)
            self.put(c, "first", "x")
            # What is sent before waits in its socket, and it may take that when it wakes.
            self.eventually("the others take it for lost",
                            lambda: seen_by(1) == [2] and seen_by(2) == [2], 20)
            for i in range(5):
                self.expect(c.avocado("mput", *(w for k in range(200)
                                                for w in (f"k{i}-{k:03}", k))), OK)
            c.resume(3)
            self.eventually("it holds as much as the others", lambda: keys(3) == keys(1), 60)
            code, status = c.status()
            self.assertEqual((code, status["diverged"]), (OK, False))
            self.assertGreater(sum(total(row["report"]["shards"], "sync_keys")
                                   for row in status["nodes"]), 0)

    def test_paused_majority(self):
        with Cluster() as c:
            self.put(c, "k", "1")
            c.pause(1)
            c.pause(2)
            done = c.avocado("--timeout", "1", "put", "k", "2")
            self.assertIn(done.returncode, (UNAVAILABLE, INDETERMINATE), done.stderr)
            c.resume(1)
            c.resume(2)
            self.eventually("serves again",
                            lambda: c.avocado("put", "k", "3").returncode == OK)
            self.assertEqual(self.get(c, "k"), "3")

    def test_dead_replica_gets_no_second_life(self):
        """Whoever knows nothing any more is not let in under the identity of who knew."""
        with Cluster() as c:
            self.put(c, "k", "1")
            c.kill(3)
            again = subprocess.run(c.daemon(3), capture_output=True, timeout=60)
            self.expect(again, REFUSED, "incarnation 3 of node 3 was given to another process")
            c.kill(2)
            done = c.avocado("--timeout", "1", "put", "k", "2")
            self.assertIn(done.returncode, (UNAVAILABLE, INDETERMINATE),
                          "a replica without memory gave its vote")
