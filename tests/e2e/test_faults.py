# SPDX-License-Identifier: Apache-2.0
"""Replicas that die, stop, and try to come back."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import BUILD, INDETERMINATE, OK, UNAVAILABLE, Case, Cluster, total


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

        with Cluster() as c:
            c.pause(3)
            for i in range(5):
                self.expect(c.avocado("mput", *(w for k in range(200)
                                                for w in (f"k{i}-{k:03}", k))), OK)
            time.sleep(2.5)  # what is on its way to it has been given up (ABD-14)
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

    def issue(self, c, work, node, incarnation, epoch):
        """A certificate by the owner's own CA, as the dead replica had one."""
        cluster = (c.dir / "client.yaml").read_text().split('"')[1]
        uri = f"URI:avocado:{cluster}:replica:{node}:{incarnation}:{epoch}"
        (work / "x.cnf").write_text(
            f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={uri}\n")
        for command in (
            f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {work}/x.key",
            f"openssl req -new -key {work}/x.key -subj /CN=x -out {work}/x.csr",
            f"openssl x509 -req -in {work}/x.csr -CA {c.dir}/ca/ca.crt -CAkey {c.dir}/ca/ca.key "
            f"-days 2 -extfile {work}/x.cnf -out {work}/x.crt",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
        return (work / "x.crt").read_bytes() + (work / "x.key").read_bytes()

    def test_dead_replica_under_its_old_identity(self):
        """Even a valid certificate does not let a process without memory vote again."""
        with Cluster() as c, tempfile.TemporaryDirectory() as d:
            self.put(c, "k", "1")
            old = next(n for n in c.status()[1]["nodes"] if n["node"] == 3)["report"]
            c.kill(3)
            identity = self.issue(c, Path(d), 3, old["incarnation"], old["epoch"])
            read_end, write_end = os.pipe()
            os.write(write_end, identity)
            os.close(write_end)
            clone = subprocess.Popen(
                [BUILD / "avocadod", "--config", c.dir / "cluster.yaml", "--ca",
                 c.dir / "ca/ca.crt", "--node", "3", "--identity-fd", str(read_end)],
                pass_fds=[read_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.close(read_end)
            try:
                def refused():
                    rows = {n["node"]: n.get("report", {}) for n in c.status()[1]["nodes"]}
                    return any(rows[n].get("control", {}).get("refused", 0) > 0 for n in (1, 2))

                self.eventually("the others refuse it", refused)
                rows = {n["node"]: n.get("report", {}) for n in c.status()[1]["nodes"]}
                for n in (1, 2):
                    self.assertEqual(rows[n]["members_up"], 2)
                self.assertNotEqual(rows[3].get("state"), "voting")
                c.kill(2)
                done = c.avocado("--timeout", "1", "put", "k", "2")
                self.assertIn(done.returncode, (UNAVAILABLE, INDETERMINATE),
                              "a replica without memory gave its vote")
            finally:
                clone.kill()
                clone.wait()
