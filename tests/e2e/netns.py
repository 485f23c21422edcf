# SPDX-License-Identifier: Apache-2.0
"""Machines of their own, as far as the kernel has them: each replica in a network namespace behind a router."""

import ctypes
import os
import shutil
import subprocess
import threading

from cluster import BUILD
from world import World, WorldCase

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


class ApartCase(WorldCase):
    """Skip it unless namespaces_work(). A test begins with enter()."""

    def setUp(self):
        self.net = Net(3)
        self.addCleanup(self.net.close)

    def enter(self, world=ApartWorld):
        self.world = world(self.net)
        self.addCleanup(self.world.close)

    def bench(self, *words):
        """avocado-bench at the router, in the background, in the name of `web`; its JSON is its output."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.net.of(0), BUILD / "avocado-bench", "--cluster", self.world.new_client("web"),
             *map(str, words), "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
