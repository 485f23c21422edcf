# SPDX-License-Identifier: Apache-2.0
"""Machines of their own, as far as the kernel has them: each replica in a network namespace behind a router, whose
cables are pulled and put back under load."""

import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from cluster import BUILD, OK, run
from test_attestation import World, WorldCase

CLONE_NEWNET = 0x40000000


def ip(*words, **kw):
    return subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, **kw)


def namespaces_work():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"avocado-{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        ip("link", "add", f"t{os.getpid()}", "netns", name, "type", "veth", "peer", "name", "e0", "netns", name)
        return True
    except subprocess.CalledProcessError:
        return False
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Net:
    """A router and one namespace behind it for each node. The CAS and the clients are at the router."""

    def __init__(self, nodes):
        self.prefix = f"avocado-{os.getpid()}"
        self.names = [self.of(n) for n in range(nodes + 1)]
        try:
            for name in self.names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", self.of(0), "addr", "add", "10.77.0.1/32", "dev", "lo")
            subprocess.run(["ip", "netns", "exec", self.of(0), "sh", "-c",
                            "echo 1 >/proc/sys/net/ipv4/ip_forward"], check=True)
            for n in range(1, nodes + 1):
                ip("link", "add", f"v{n}", "netns", self.of(0), "type", "veth", "peer", "name", "e0", "netns",
                   self.of(n))
                ip("-n", self.of(0), "addr", "add", f"10.77.{n}.1/30", "dev", f"v{n}")
                ip("-n", self.of(n), "addr", "add", f"10.77.{n}.2/30", "dev", "e0")
                ip("-n", self.of(0), "link", "set", f"v{n}", "up")
                ip("-n", self.of(n), "link", "set", "e0", "up")
                ip("-n", self.of(n), "route", "add", "default", "via", f"10.77.{n}.1")
        except BaseException:
            self.close()
            raise

    def of(self, node):
        return f"{self.prefix}-{node}"

    def cable(self, node, state):
        ip("-n", self.of(0), "link", "set", f"v{node}", state)

    def inside(self, node, what):
        """what() by a thread in the namespace of a node."""
        got = {}

        def run_there():
            fd = os.open(f"/run/netns/{self.of(node)}", os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
                got["error"] = OSError(ctypes.get_errno(), "setns")
            else:
                got["value"] = what()
            os.close(fd)

        t = threading.Thread(target=run_there)
        t.start()
        t.join()
        if "value" not in got:
            raise got.get("error", RuntimeError("the call ended with an exception"))
        return got["value"]

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class ApartWorld(World):
    def __init__(self, net):
        self.net = net
        super().__init__()

    def address(self, node):
        return "10.77.0.1" if node == 0 else f"10.77.{node}.2"

    def start(self, name, program, *args):
        node = int(name[1:]) if name[0] == "n" else 0
        with open(self.dir / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(
                ["ip", "netns", "exec", self.net.of(node), str(BUILD / program), *map(str, args)],
                cwd=self.dir, stdout=log, stderr=log)

    def owner(self, path, body):
        return self.net.inside(0, lambda: World.owner(self, path, body))


@unittest.skipUnless(namespaces_work(), "no network namespaces here (root, iproute2, veth)")
class Partition(WorldCase):
    def setUp(self):
        self.net = Net(3)
        self.addCleanup(self.net.close)
        self.world = ApartWorld(self.net)
        self.addCleanup(self.world.close)

    def longest_gap_ms(self, returns, begin_ns, end_ns):
        within = sorted(t for t in returns if begin_ns <= t <= end_ns)
        return max(b - a for a, b in zip([begin_ns, *within], [*within, end_ns])) / 1e6

    def test_cables_are_pulled_under_load(self):
        w = self.world
        self.founded()
        w.start_las()
        self.says("las", "las.m1 is attested")
        for node in (1, 2, 3):
            w.start_replica(node)
        for node in (1, 2, 3):
            self.says(f"n{node}", f"ready: node {node} listens")
        given = w.owner("/v1/client", {"name": "web", "key": w.new_key("web.key")})
        (w.dir / "web.crt").write_text(given["certificate"])
        history = w.dir / "h.jsonl"
        bench = subprocess.Popen(
            ["ip", "netns", "exec", self.net.of(0), BUILD / "avocado-bench", "--cluster",
             w.client_yaml(("web.crt", "web.key")), "--workload", "mix", "--records", "6", "--seconds", "4.5",
             "--warmup", "0", "--clients", "6", "--depth", "2", "--timeout", "1", "--history", history, "--json", "-"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        bench.stderr.read(1)  # progress: it runs
        events = []
        for name, nodes in (("one of three is cut off", [2]), ("another one", [3]), ("two: nothing may complete", [1, 2])):
            for node in nodes:
                self.net.cable(node, "down")
            begin = time.monotonic_ns()
            time.sleep(0.5)
            events.append((name, begin, time.monotonic_ns()))
            for node in nodes:
                self.net.cable(node, "up")
            time.sleep(0.4)
        out, err = bench.communicate(timeout=60)
        self.assertEqual(bench.returncode, OK, err.decode())
        self.assertGreater(json.loads(out)["ops"], 500)
        operations = [json.loads(line) for line in history.read_text().splitlines()]
        done = [o["return_ns"] for o in operations if o["ok"] and o["return_ns"]]
        for name, begin, end in events:
            print(f"    {name}: longest gap {self.longest_gap_ms(done, begin, end):.0f} ms", flush=True)
        # Without a majority nothing completes: neither writes nor reads, which could be stale.
        _, begin, end = events[-1]
        alone = [o for o in operations if o["ok"] and o["return_ns"] and
                 begin < o["invoke_ns"] and o["return_ns"] < end]
        self.assertEqual(alone, [], "somebody served without a majority")
        self.assertGreater(max(done), end, "it serves again when the cables are back")
        self.expect(run("avocado-sim", "--check-history", history), OK, "linearizable")
        for node in (1, 2, 3):
            self.assertIsNone(w.running[f"n{node}"].poll(), w.log(f"n{node}"))
