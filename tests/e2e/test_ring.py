# SPDX-License-Identifier: Apache-2.0
"""Split mode: replicas that make no network call, and hosts that write all over their rings."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from cluster import OK, ROOT, USAGE, Case, Cluster, ClusterCase, run, total

# What a replica may do in a system call once it serves: wait for the host (strace lets it start
# anew once), and wake it.
IDLE = {"futex", "write", "restart_syscall"}


def hosts_of(pid):
    """The avocado-hostd of a replica: its child."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def shard_threads(pid):
    return [int(t.name) for t in Path(f"/proc/{pid}/task").iterdir() if (t / "comm").read_text() == "shard\n"]


def system_calls(threads, seconds):
    """Name and number of the system calls of these threads, by strace."""
    with tempfile.NamedTemporaryFile() as f:
        words = ["strace", "-c", "-U", "calls,name", "-o", f.name]
        p = subprocess.Popen(words + [w for t in threads for w in ("-p", str(t))],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        p.stderr.readline()  # "attached"
        time.sleep(seconds)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
        counts = {m[2]: int(m[1]) for m in re.finditer(r"^\s*(\d+)\s+(\w+)$", Path(f.name).read_text(), re.M)}
        counts.pop("total", None)
        return counts


class Ring(ClusterCase):
    options = ("--io", "ring")

    def test_status_says_so_and_the_replica_is_shut_in(self):
        c = self.cluster
        for row in c.status()[1]["nodes"]:
            self.assertEqual(row["report"]["io"], "ring")
            pid = c.pid(row["node"])
            for task in Path(f"/proc/{pid}/task").iterdir():
                self.assertIn("Seccomp:\t2", (task / "status").read_text())
            if os.geteuid() == 0:
                kinds = [os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir()]
                sockets = [k for k in kinds if k.startswith("socket:")]
                self.assertEqual(len(sockets), 1, "the one to its host, by which it learns of its end")

    @unittest.skipUnless(shutil.which("strace") and os.geteuid() == 0, "needs strace and root")
    def test_no_system_call_for_an_operation(self):
        c = self.cluster
        lines = "".join(f"calls/{i}\tvalue {i}\n" for i in range(20000)).encode()
        self.expect(c.avocado("import", "-", stdin=lines), OK)
        before = c.shards(1)
        reader = c.start("check", "--coordinator", 1, "-", stdin=lines * 30)
        shards = shard_threads(c.pid(1))
        self.assertEqual(len(shards), 1)
        counts = system_calls(shards, 2)
        reader.terminate()
        reader.communicate(timeout=60)
        after = c.shards(1)

        def grown(name):
            return total(after, name) - total(before, name)

        self.assertGreater(grown("gets") + grown("shown"), 1000, "no load, nothing shown")
        self.assertLessEqual(set(counts), IDLE, counts)
        # Each of them was a wait for lack of work, or told a sleeping host before one.
        self.assertLessEqual(counts.get("futex", 0), grown("waits"), counts)
        self.assertLessEqual(counts.get("write", 0), grown("wakes") + 4, counts)


class Life(Case):
    def test_put_get_kill(self):
        with Cluster("--io", "ring") as c:
            self.expect(c.avocado("put", "k", "1"), OK)
            big = bytes(range(256)) * 2000
            self.expect(c.avocado("put", "big", "-", stdin=big), OK)
            pid, hosts = c.pid(2), hosts_of(c.pid(2))
            self.assertEqual(len(hosts), 1)
            c.kill(2)
            self.assertEqual(self.expect(c.avocado("get", "k"), OK).stdout, b"1")
            self.assertEqual(self.expect(c.avocado("get", "big"), OK).stdout, big)
            self.eventually("the host of a dead replica ends",
                            lambda: not Path(f"/proc/{hosts[0]}").exists(), 10)
            self.assertFalse(Path(f"/proc/{pid}").exists())
            os.kill(hosts_of(c.pid(3))[0], signal.SIGKILL)
            third = c.pid(3)
            self.eventually("a replica without host ends in order",
                            lambda: not Path(f"/proc/{third}").exists(), 10)
            self.assertIn("avocado-hostd has ended", (c.dir / "log/node-3.log").read_text())

    def test_a_replica_comes_back(self):
        """The members tell the CAS how far they are through streams of their hosts."""
        with Cluster("--io", "ring", restart=True) as c:
            self.expect(c.avocado("put", "k", "1"), OK)
            c.kill(2)
            self.eventually("all vote", lambda: c.whole() and c.members()["epoch"] > 1)
            self.assertEqual(self.expect(c.avocado("get", "k"), OK).stdout, b"1")

    def test_a_busy_poller_makes_no_system_call_at_all(self):
        if not shutil.which("strace") or os.geteuid() != 0:
            self.skipTest("needs strace and root")
        with Cluster("--io", "ring", "--poll", "busy", nodes=1) as c:
            lines = "".join(f"busy/{i}\tvalue {i}\n" for i in range(2000)).encode()
            self.expect(c.avocado("import", "-", stdin=lines), OK)
            os.kill(c.supervisor_pid(), signal.SIGTERM)  # whoever asks for reports makes calls
            self.eventually("no supervisor", lambda: c.members() is None)
            before = total(c.shards(1), "shown")
            reader = c.start("check", "-", stdin=lines * 100)
            counts = system_calls(shard_threads(c.pid(1)), 1)
            reader.terminate()
            reader.communicate(timeout=60)
            self.assertGreater(total(c.shards(1), "shown") - before, 100)
            self.assertEqual(counts, {})

    def test_usage(self):
        self.expect(run("avocado-hostd", "--address", "127.0.0.1"), USAGE, "--data-port")
        self.expect(run("avocadod", "--cas", "127.0.0.1:1", "--cas-ca", "x", "--node", "1", "--las", "x",
                        "--io", "ring"), USAGE, "avocado-hostd")


@unittest.skipUnless(os.geteuid() == 0, "writing to another process's rings needs root")
class HostileHost(Case):
    def test_history_under_a_host_that_writes_everywhere(self):
        """One replica's host is hostile, then each; what clients saw stays linearizable."""
        with Cluster("--io", "ring") as c, tempfile.TemporaryDirectory() as d:
            history = Path(d) / "h"
            bench = subprocess.Popen(
                [str(Path(os.environ.get("AVOCADO_BUILD", "build")) / "avocado-bench"), "--cluster",
                 str(c.yaml), "--workload", "a", "--records", "20", "--value-size", "16", "--seconds",
                 "6", "--clients", "3", "--depth", "2", "--timeout", "2", "--history", str(history)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            attackers = [subprocess.Popen(
                [sys.executable, ROOT / "scripts/hostile.py", "ring", str(hosts_of(c.pid(n))[0]), "5"],
                stdout=subprocess.PIPE) for n in (1, 2)]
            for a in attackers:
                a.communicate(timeout=60)
                self.assertEqual(a.returncode, 0)
            out, err = bench.communicate(timeout=120)
            self.assertIn(bench.returncode, (0, 3, 4), (out + err).decode())
            self.expect(run("avocado-sim", "--check-history", history), OK)
            self.assertGreater(sum(1 for _ in open(history)), 100)
            bad = 0
            for n in (1, 2, 3):
                self.assertTrue(Path(f"/proc/{c.pid(n)}").exists(), "a replica crashed")
            # Denied service is allowed while it lasts; afterwards all is well.
            self.eventually("all vote again", lambda: c.status()[1]["voting"] == 3, 30)
            for n in (1, 2):
                bad += total(c.shards(n), "ring_bad")
            self.assertGreater(bad, 0)
            self.expect(c.avocado("put", "after", "1"), OK)
            self.assertEqual(self.expect(c.avocado("get", "after"), OK).stdout, b"1")
