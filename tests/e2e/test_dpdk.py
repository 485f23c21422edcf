# SPDX-License-Identifier: Apache-2.0
"""Packet I/O by DPDK: replicas linked by shared memory, clients through the kernel."""

import tempfile
import unittest

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, Cluster, run, total

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
            incarnation = c.members()["members"][1]["incarnation"]
            c.kill(2)
            self.assertEqual(self.expect(c.avocado("get", "big"), OK).stdout, big)
            self.eventually("node 2 is a new member that votes",
                            lambda: c.whole() and c.members()["members"][1]["incarnation"] != incarnation)
            before = by_dpdk(c, 2)
            self.expect(c.avocado("check", "--coordinator", 1, "-", stdin=lines), OK)
            self.eventually("its links are there again", lambda: by_dpdk(c, 2) > before)


class Refused(Case):
    def test_usage(self):
        words = ["--config", "x", "--ca", "x", "--node", "1", "--identity-fd", "0"]
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
