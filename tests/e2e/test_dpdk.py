# SPDX-License-Identifier: Apache-2.0
"""Packet I/O by DPDK: replicas linked by shared memory, clients through the kernel; and replicas on machines of their
own, as far as the kernel has them, with clients that know nothing of DPDK."""

import json
import subprocess
import tempfile
import unittest

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, Cluster, run, total
from test_attestation import WorldCase
from test_partition import ApartWorld, Net, ip, namespaces_work

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


class OwnStackWorld(ApartWorld):
    """Frames of each replica's e0 are taken by the kernel (TCP, ARP) and by DPDK (UDP, ARP)."""

    def replica_args(self, node, *proof):
        eal = ("--no-huge -m 64 --no-pci --no-shconf --no-telemetry --log-level=*:error "
               "--vdev=net_af_packet0,iface=e0")
        return [*super().replica_args(node, *proof), "--io", "dpdk", "--dpdk-eal", eal, "--dpdk-port",
                f"net_af_packet0,ip=10.77.{node}.2/30,via=10.77.{node}.1"]


@unittest.skipUnless(HAS_DPDK, "built without DPDK; scripts/packages dpdk installs it")
@unittest.skipUnless(namespaces_work(), "no network namespaces here (root, iproute2, veth)")
class OwnStack(WorldCase):
    def setUp(self):
        self.net = Net(3)
        self.addCleanup(self.net.close)
        for n in (1, 2, 3):  # trains would arrive whole: there is no NIC that cuts them up
            ip("-n", self.net.of(0), "link", "set", f"v{n}", "gso_max_segs", 1)
        self.world = OwnStackWorld(self.net)
        self.addCleanup(self.world.close)

    def test_history(self):
        """Neighbours behind a router, checksums that the kernel believes, and a linearizable history."""
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
        done = subprocess.run(
            ["ip", "netns", "exec", self.net.of(0), BUILD / "avocado-bench", "--cluster",
             w.client_yaml(("web.crt", "web.key")), "--workload", "mix", "--records", "20", "--seconds", "1.5",
             "--warmup", "0", "--clients", "3", "--depth", "4", "--history", history, "--json", "-"],
            capture_output=True, timeout=60)
        self.assertEqual(done.returncode, OK, done.stderr.decode())
        self.assertGreater(json.loads(done.stdout)["ops"], 200)
        self.expect(run("avocado-sim", "--check-history", history), OK, "linearizable")
        for node in (1, 2, 3):
            self.assertIsNone(w.running[f"n{node}"].poll(), w.log(f"n{node}"))


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
