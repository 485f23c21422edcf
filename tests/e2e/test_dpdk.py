# SPDX-License-Identifier: Apache-2.0
"""Packet I/O by DPDK: replicas linked by shared memory, clients through the kernel; and replicas on machines of their
own, as far as the kernel has them, with clients that know nothing of DPDK."""

import ctypes
import fcntl
import json
import socket
import struct
import tempfile
import unittest

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, Cluster, run, total
from netns import ApartCase, ApartWorld, ip, namespaces_work

HAS_DPDK = (BUILD / "avocado-dpdk.so").exists()


def by_dpdk(cluster, node):
    """Datagrams that a node received from others past the kernel."""
    shards = cluster.shards(node)
    return total(shards, "rx_packets") - total(shards, "rx_kernel")


@unittest.skipUnless(HAS_DPDK, "built without DPDK; scripts/packages dpdk installs it")
class Mesh(Case):
    def test_talk_lose_and_rejoin(self):
        """Two shards; a replica dies, and its successor finds the links again."""
        with Cluster("--io", "dpdk", "--workers", "2", restart=True) as c:
            big = bytes(range(256)) * 2000
            lines = "".join(f"k/{i}\tvalue {i}\n" for i in range(500)).encode()
            self.expect(c.avocado("put", "big", "-", stdin=big), OK)
            self.expect(c.avocado("import", "-", stdin=lines), OK)
            self.assertEqual(self.expect(c.avocado("get", "big"), OK).stdout, big)
            for row in c.status()[1]["nodes"]:
                self.assertEqual(row["report"]["io"], "dpdk")
                self.assertGreater(by_dpdk(c, row["node"]), 100, "replicas talk past the kernel")
                self.assertEqual(total(row["report"], "rx_bad"), 0)
            # Node 1 listens for both others: they must dial its successor.
            incarnation = c.members()["members"][0]["incarnation"]
            c.kill(1)
            self.assertEqual(self.expect(c.avocado("get", "big"), OK).stdout, big)
            self.eventually("node 1 is a new member that votes",
                            lambda: c.whole() and c.members()["members"][0]["incarnation"] != incarnation)
            before = by_dpdk(c, 1)
            self.expect(c.avocado("check", "--coordinator", 2, "-", stdin=lines), OK)
            self.eventually("its links are there again", lambda: by_dpdk(c, 1) > before + 20)


def whole_checksums(name):
    """The kernel completes the checksums of what it sends by a device: no NIC behind it would."""
    set_tx_checksum, siocethtool = 0x17, 0x8946
    value = ctypes.create_string_buffer(struct.pack("II", set_tx_checksum, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, siocethtool, struct.pack("16sP", name.encode(), ctypes.addressof(value)))


class OwnStackWorld(ApartWorld):
    """Frames of each replica's e0 are taken by the kernel (TCP, ARP) and by DPDK (UDP, ARP)."""

    devices = ("net_af_packet0,iface=e0",)
    port = "net_af_packet0"

    def dpdk_args(self, node):
        eal = ("--no-huge -m 64 --no-pci --no-shconf --no-telemetry --log-level=*:error "
               + " ".join(f"--vdev={d}" for d in self.devices))
        return ["--io", "dpdk", "--dpdk-eal", eal, "--dpdk-port",
                f"{self.port},ip=10.77.{node}.2/30,via=10.77.{node}.1"]

    def replica_args(self, node, *proof):
        return [*super().replica_args(node, *proof), *self.dpdk_args(node)]


class XdpWorld(OwnStackWorld):
    """avocado-hostd has every frame of e0, as of a NIC that the kernel does not see; what is not its own goes on to the
    kernel through a second device: before the replica has joined, too, for the CAS is behind it."""

    devices = ("net_af_xdp0,iface=e0", "net_af_packet0,iface=k0")
    port = "net_af_xdp0,kernel=net_af_packet0"

    def start_replica(self, node, *proof):
        port = self.ports[node]
        self.start(f"n{node}", "avocado-hostd", "--address", self.address(node), "--data-port", port,
                   "--control-port", port, *self.dpdk_args(node), "--", BUILD / "avocadod",
                   *ApartWorld.replica_args(self, node, *proof))

    def __init__(self, net):
        super().__init__(net)
        for n in (1, 2, 3):
            place = net.of(n)
            mac = json.loads(ip("-n", place, "-j", "link", "show", "e0").stdout)[0]["address"]
            ip("-n", place, "link", "add", "k0", "type", "veth", "peer", "name", "k1")
            ip("-n", place, "addr", "del", f"10.77.{n}.2/30", "dev", "e0")
            ip("-n", place, "link", "set", "k1", "address", mac)
            for device in ("k0", "k1"):
                ip("-n", place, "link", "set", device, "up")
            ip("-n", place, "addr", "add", f"10.77.{n}.2/30", "dev", "k1")
            ip("-n", place, "route", "add", "default", "via", f"10.77.{n}.1")
            net.inside(n, lambda: whole_checksums("k1"))
            net.inside(0, lambda n=n: whole_checksums(f"v{n}"))


@unittest.skipUnless(HAS_DPDK, "built without DPDK; scripts/packages dpdk installs it")
@unittest.skipUnless(namespaces_work(), "no network namespaces here (root, iproute2, veth)")
class OwnStack(ApartCase):
    def setUp(self):
        super().setUp()
        for n in (1, 2, 3):  # trains would arrive whole: there is no NIC that cuts them up
            ip("-n", self.net.of(0), "link", "set", f"v{n}", "gso_max_segs", 1)

    def history(self, world):
        """Neighbours behind a router, checksums that the kernel believes, and a linearizable history."""
        self.enter(world)
        w = self.world
        self.serving()
        history = w.dir / "h.jsonl"
        bench = self.bench("--workload", "mix", "--records", 20, "--seconds", 1.5, "--warmup", 0, "--clients", 3,
                           "--depth", 4, "--history", history)
        out, err = bench.communicate(timeout=60)
        self.assertEqual(bench.returncode, OK, err.decode())
        self.assertGreater(json.loads(out)["ops"], 200)
        self.expect(run("avocado-sim", "--check-history", history), OK, "linearizable")
        for node in (1, 2, 3):
            self.assertIsNone(w.running[f"n{node}"].poll(), w.log(f"n{node}"))

    def test_beside_the_kernel(self):
        self.history(OwnStackWorld)

    def test_before_the_kernel(self):
        self.history(XdpWorld)


class Refused(Case):
    def test_usage(self):
        words = ["--cas", "127.0.0.1:1", "--cas-ca", "x", "--node", "1", "--las", "x"]
        self.expect(run("avocadod", *words, "--io", "dpdk"), USAGE, "--dpdk-port")
        self.expect(run("avocadod", *words, "--dpdk-mesh", "/"), USAGE, "--io dpdk")
        self.expect(run("avocadod", *words, "--io", "dpdk", "--dpdk-port", "net0"), USAGE,
                    "ip=ADDRESS/BITS")
        self.expect(run("avocado-hostd", "--address", "127.0.0.1", "--data-port", "1",
                        "--control-port", "1", "--io", "dpdk", "--", "true"), USAGE, "--dpdk-port")

    @unittest.skipIf(HAS_DPDK, "built with DPDK")
    def test_without(self):
        with tempfile.TemporaryDirectory() as d:
            done = run("avocado", "up", "--io", "dpdk", "--dir", f"{d}/c")
            self.expect(done, UNAVAILABLE, "scripts/packages dpdk")
