# SPDX-License-Identifier: Apache-2.0
"""up, down, status: what starts, what is refused, what is gone, and who can read what."""

import json
import os
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import BUILD, NOT_FOUND, OK, REFUSED, UNAVAILABLE, USAGE, Case, Cluster, run


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Lifecycle(Case):
    def test_policy(self):
        """The owner reads and replaces the rules; they are checked; a client that is revoked is out."""
        def policy(*words, **kw):
            return run("avocado", "policy", "--dir", c.dir, *words, **kw)

        with Cluster() as c, tempfile.TemporaryDirectory() as d:
            text = self.expect(policy("show"), OK).stdout.decode()
            self.assertIn("policy: 1\n", text)
            new = Path(d) / "new.yaml"
            new.write_text(text.replace("policy: 1\n", "policy: 7\n"))
            self.expect(policy("set", new), OK, "policy 7 is in force")
            self.assertEqual(policy("show").stdout.decode(), new.read_text())
            self.assertEqual((c.dir / "policy.yaml").read_text(), new.read_text())
            self.expect(policy("set", new), REFUSED, "policy")  # it only rises
            new.write_text("policy: many\n")
            self.expect(policy("set", new), REFUSED)
            self.expect(policy("set", Path(d) / "absent"), USAGE, "cannot be read")
            self.expect(policy("what"), USAGE)
            self.expect(c.avocado("put", "k", "v"), OK)
            name = subprocess.run(["openssl", "x509", "-in", c.dir / "client.crt", "-noout", "-ext",
                                   "subjectAltName"], capture_output=True, text=True).stdout
            client = name.rsplit(":client:", 1)[1].split()[0]
            self.expect(policy("revoke", client), OK, "is revoked")
            self.eventually("it is out", lambda: c.avocado("get", "k").returncode == REFUSED, 15)
            log = json.loads(self.expect(policy("audit", "--json"), OK).stdout)
            self.assertEqual([e["detail"] for e in log["log"] if e["what"] == "policy"],
                             ["version 7 follows version 1"])
            self.expect(policy("audit"), OK, f"revoke     owner                    {client}", log["head"])

    def test_up_status_down(self):
        with Cluster() as c:
            code, status = c.status()
            self.assertEqual(code, OK)
            self.assertEqual([n["state"] for n in status["nodes"]], ["voting"] * 3)
            self.assertFalse(status["protected"])
            table = run("avocado", "status", "--dir", c.dir)
            self.expect(table, OK, "SOFTWARE, NOT PROTECTED", "3 of 3 nodes",
                        "3 of 3 members have joined", "LAS   las.local              running")
            self.assertTrue(status["cas"]["up"] and status["las"]["up"])
            self.expect(c.avocado("put", "k", "v"), OK)
            table = run("avocado", "status", "--dir", c.dir, "--connections")
            self.expect(table, OK, "RTT us", "node 2")
            heard = 0
            for node in c.status()[1]["nodes"]:
                shard = node["report"]["shards"][0]
                members = [x for x in shard["connections"] if x["peer"] == "member"]
                self.assertEqual({x["node"] for x in members}, {1, 2, 3} - {node["node"]})
                self.assertFalse(any(x["down"] for x in members))
                heard += sum(x["rx_packets"] > 0 for x in members)
                self.assertGreater(members[0]["enclave_bytes"], 1000)
                self.assertEqual(len(shard["rtt"]), 20)
            self.assertGreaterEqual(heard, 2, "a put needs two replicas; the third may hear nothing")
            pids = [c.pid(n) for n in (1, 2, 3)]
            self.expect(c.down(), OK, "stopped 3 nodes", "gone")
            for pid in pids:
                self.assertFalse(is_running(pid), "still runs")
            self.assertEqual(list((c.dir / "run").iterdir()), [])
            self.expect(c.down(), OK, "not running")
            code, status = c.status()
            self.assertEqual(code, UNAVAILABLE)
            self.assertEqual([n["state"] for n in status["nodes"]], ["stopped"] * 3)

    def test_up_again_while_running(self):
        with Cluster() as c:
            pids = [c.pid(n) for n in (1, 2, 3)]
            self.expect(c.up(), OK, "already running")
            self.assertEqual([c.pid(n) for n in (1, 2, 3)], pids)

    def test_up_after_down_is_empty_and_new(self):
        with Cluster() as c:
            self.expect(c.avocado("put", "k", "v"), OK)
            first = json.loads(self.expect(c.up("--json"), OK).stdout)
            self.expect(c.down(), OK)
            self.expect(c.up(), OK, "what was stored before is gone", "epoch 2")
            second = json.loads(self.expect(c.up("--json"), OK).stdout)
            self.assertEqual(second["epoch"], first["epoch"] + 1)
            old = {n["incarnation"] for n in first["nodes"]}
            self.assertTrue(old.isdisjoint(n["incarnation"] for n in second["nodes"]))
            self.expect(c.avocado("get", "k"), NOT_FOUND)
            self.expect(c.avocado("put", "k", "w"), OK)

    def test_all_lost_is_never_silently_refounded(self):
        with Cluster() as c:
            self.expect(c.avocado("put", "k", "v"), OK)
            for node in (1, 2, 3):
                c.kill(node)
            self.expect(c.up(), REFUSED, "data at risk: all replicas lost their memory")
            _, status = c.status()
            self.assertEqual([n["state"] for n in status["nodes"]], ["lost"] * 3)
            self.expect(c.up("--accept-data-loss"), OK)
            self.expect(c.avocado("get", "k"), NOT_FOUND)

    def test_one_lost_does_not_come_back(self):
        with Cluster() as c:
            c.kill(2)
            self.expect(c.up(), UNAVAILABLE, "node 2", "memory is lost")
            self.expect(c.up("--accept-data-loss"), UNAVAILABLE, "node 2")
            self.expect(c.down(), OK, "stopped 2 nodes", "1 had ended before")
            self.expect(c.up(), OK)

    def test_without_the_cas(self):
        """The cluster serves on, whoever wants to join waits and says so, and `up` mends it."""
        with Cluster(restart=True) as c:
            self.expect(c.avocado("put", "k", "v"), OK)
            for pid in (c.supervisor_pid(), c.service_pid("cas")):
                c.kill_pid(pid)
            self.assertEqual(self.expect(c.avocado("get", "k"), OK).stdout, b"v")
            code, status = c.status()
            self.assertEqual((code, status["cas"]["up"]), (OK, False))
            self.expect(run("avocado", "status", "--dir", c.dir), OK, "The CAS does not answer",
                        "joins, renewed certificates and changes of members wait")
            c.kill(2)
            with tempfile.NamedTemporaryFile() as log:
                joiner = subprocess.Popen(c.daemon(2), stderr=log)
                try:
                    self.eventually("it waits", lambda: b"waiting to join: the CAS at" in
                                    Path(log.name).read_bytes())
                    self.assertIsNone(joiner.poll())
                finally:
                    joiner.kill()
                    joiner.wait()
            self.expect(c.up(), OK)
            self.eventually("all vote", c.whole)
            self.assertTrue(c.status()[1]["cas"]["up"])
            self.assertEqual(self.expect(c.avocado("get", "k"), OK).stdout, b"v")
            self.assertIn("node 2 joins with incarnation 4", (c.dir / "log/cas.log").read_text())

    def test_reused_process_number_is_not_ours(self):
        with Cluster() as c:
            self.expect(c.down(), OK)
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            own = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
            for start in ("1", own):  # a wrong start time, then a wrong program
                (c.dir / "run/node-1.pid").write_text(f"{os.getpid()} {start} {boot}\n")
                self.expect(c.down(), OK, "1 had ended before")

    def test_nothing_secret_is_readable_by_others(self):
        with Cluster() as c:
            private = b"PRIVATE KEY"
            for path in [c.dir, *c.dir.rglob("*")]:
                mode = stat.S_IMODE(path.stat().st_mode)
                if path.is_dir():
                    self.assertEqual(mode, 0o700, path)
                elif path.is_file() and private in path.read_bytes():
                    self.assertEqual(mode, 0o600, path)
            keys = {p.name for p in c.dir.rglob("*") if p.is_file() and private in p.read_bytes()}
            self.assertEqual(keys, {"owner.key", "client.key", "root_key.pem", "pck_key.pem"},
                             "a replica's or the CA's key is on disk")
            seal = (c.dir / "cas/seal.key").stat()
            self.assertEqual(stat.S_IMODE(seal.st_mode), 0o600)
            for node in (1, 2, 3):
                line = Path(f"/proc/{c.pid(node)}/cmdline").read_bytes()
                self.assertNotIn(private, line)

    def test_failed_up_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as base, socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = run("avocado", "up", "--dir", Path(base) / "d", "--base-port", port)
            self.expect(done, UNAVAILABLE, str(port))
            self.assertEqual(os.listdir(base), [])

    def test_interrupted_up_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as base:
            p = subprocess.Popen([BUILD / "avocado", "up", "--dir", Path(base) / "d"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.eventually("records", lambda: (Path(base) / "d/run/node-3.pid").exists()
                            or p.poll() is not None)
            p.send_signal(signal.SIGINT)
            p.wait(60)
            p.stderr.close()
            if p.returncode == OK:  # it was faster than we were
                run("avocado", "down", "--dir", Path(base) / "d")
            else:
                self.assertEqual(os.listdir(base), [])

    def test_folder_of_somebody_else(self):
        with tempfile.TemporaryDirectory() as base:
            (Path(base) / "precious").write_text("x")
            self.expect(run("avocado", "up", "--dir", base), USAGE, "something else")
            self.expect(run("avocado", "down", "--dir", base), USAGE)
            self.expect(run("avocado", "status", "--dir", base), USAGE)
            self.assertEqual(os.listdir(base), ["precious"])

    def test_wishes_out_of_range(self):
        with tempfile.TemporaryDirectory() as base:
            for wish in (["--nodes", 2, "--rf", 3], ["--nodes", 33], ["--workers", 0], ["--rf", 2],
                         ["--value-max", "17M"], ["--enclave-memory", "1k"], ["--io", "rfc1149"],
                         ["--poll", "sometimes"], ["--cpus", "0,"], ["--cpus", 1023]):
                self.expect(run("avocado", "up", "--dir", Path(base) / "d", *wish), USAGE)
            self.assertEqual(os.listdir(base), [])

    def test_one_five_and_two_shards(self):
        for nodes, workers in ((1, 1), (5, 1), (3, 2)):
            with Cluster("--workers", workers, nodes=nodes) as c:
                self.expect(c.avocado("put", "k", "v"), OK)
                self.assertEqual(self.expect(c.avocado("get", "k"), OK).stdout, b"v")
                self.assertEqual(len(c.shards(1)), workers)

    def shard_threads(self, c, node):
        """Where each of a node's shards may run, at this moment."""
        tasks = Path(f"/proc/{c.pid(node)}/task").iterdir()
        return sorted(sorted(os.sched_getaffinity(int(t.name)))
                      for t in tasks if (t / "comm").read_text() == "shard\n")

    def test_shards_bound_to_processors(self):
        some = sorted(os.sched_getaffinity(0))[:2]
        with Cluster("--workers", 2, "--cpus", ",".join(map(str, some[::-1]))) as c:
            self.expect(c.member("replace", 3, 4), OK)  # those that come later, too
            self.eventually("all vote", lambda: c.status()[1]["voting"] == 3)
            want = [some[-1], some[0]]
            for n in (1, 2, 4):
                self.assertEqual([s["host"]["cpu"] for s in c.shards(n)], want)
                self.assertEqual(self.shard_threads(c, n), sorted([cpu] for cpu in want))

    def test_shards_at_home_while_nobody_computes(self):
        """More shards than processors: one after the other, and they go there, sooner or later."""
        every = sorted(os.sched_getaffinity(0))
        shards = len(every) // 3 + 1
        with Cluster("--workers", shards) as c:
            for n in (1, 2, 3):
                want = [every[((n - 1) * shards + i) % len(every)] for i in range(shards)]
                self.assertEqual([s["host"]["home"] for s in c.shards(n)], want)
                if not os.path.exists("/proc/self/schedstat"):
                    continue  # a kernel that does not say how long threads wait
                for cpu in want:
                    self.eventually("a shard at home", lambda n=n, cpu=cpu: [cpu] in self.shard_threads(c, n),
                                    seconds=60)
        with Cluster("--workers", shards, "--cpus", "any") as c:
            self.assertNotIn("home", c.shards(1)[0]["host"])
            self.assertEqual(self.shard_threads(c, 1), [every] * shards)

    def test_deadline_without_cluster(self):
        with Cluster() as c:
            self.expect(c.down(), OK)
            began = time.monotonic()
            self.expect(c.avocado("--timeout", "500ms", "get", "k"), UNAVAILABLE)
            self.assertLess(time.monotonic() - began, 10)
