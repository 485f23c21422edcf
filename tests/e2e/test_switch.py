# SPDX-License-Identifier: Apache-2.0
"""A hostile switch at every replica, and hosts that rewrite what they have put into the rings
(tests/hostile): what clients saw is linearizable, and every datagram is accounted for."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster import BUILD, INDETERMINATE, NOT_FOUND, OK, UNAVAILABLE, Case, Cluster, run, total

REFUSALS = ("malformed", "unknown_index", "replay_old", "replay_dup", "auth_failed", "old_phase")


class Switch:
    """A cluster in split mode whose avocado-hostd is the hostile one, honest until it is told."""

    def __init__(self, nodes=3):
        self.folder = Path(tempfile.mkdtemp(prefix="avocado-switch-"))
        programs, self.says = self.folder / "bin", self.folder / "says"
        programs.mkdir()
        self.says.mkdir()
        shutil.copy(BUILD / "avocado", programs)  # it looks for the others beside itself
        for name in ("avocadod", "avocado-cas", "avocado-las"):
            (programs / name).symlink_to(BUILD / name)
        (programs / "avocado-hostd").symlink_to(BUILD / "tests/hostile/avocado-hostd")
        self.cluster = Cluster("--io", "ring", nodes=nodes, programs=programs,
                               env={"AVOCADO_HOSTILE_DIR": str(self.says)})

    def __enter__(self):
        self.cluster.__enter__()
        self.ports = {row["node"]: int(row["address"].rsplit(":", 1)[1])
                      for row in self.cluster.status()[1]["nodes"]}
        return self

    def __exit__(self, *_):
        self.cluster.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self, words, nodes=(1, 2, 3)):
        for n in nodes:
            new = self.says / "new"
            new.write_text(words)
            new.rename(self.says / str(self.ports[n]))

    def did(self, node):
        return json.loads((self.says / f"{self.ports[node]}.did").read_text())

    def load(self, seconds, history):
        """avocado-bench in the background, which writes down what it saw."""
        return subprocess.Popen(
            [str(w) for w in (BUILD / "avocado-bench", "--cluster", self.cluster.yaml, "--workload", "a",
                              "--records", 20, "--value-size", 16, "--seconds", seconds, "--clients", 3,
                              "--depth", 3, "--timeout", 2, "--quiet", "--json", "-", "--history", history)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Hostile(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.history = Path(folder.name) / "history"

    def account(self, switch, inward=True):
        """Each datagram that a switch let through is in one counter of its replica. Only those that
        somebody sent were opened, once; who sent them can be told if the switches leave alone what
        leaves the replicas."""
        for node in (1, 2, 3):
            seen = ["every datagram in its place"]

            def fits(node=node, seen=seen):
                before = switch.did(node)["in"]
                rpc = switch.cluster.shards(node)[0]["rpc"]
                after = switch.did(node)["in"]
                seen[1:] = [rpc, after]
                return (after["held"] == 0 and
                        before["delivered"] <= rpc["rx_packets"] <= after["delivered"] and
                        rpc["rx_packets"] == rpc["opened"] + sum(rpc[r] for r in REFUSALS) and
                        (rpc["opened"] <= after["genuine"] or not inward))

            self.eventually(seen, fits)

    def finish(self, load, at_least):
        """The load ends well, or says what it could not know; its history is linearizable."""
        out, err = load.communicate(timeout=120)
        self.assertIn(load.returncode, (OK, UNAVAILABLE, INDETERMINATE), (out + err).decode())
        self.expect(run("avocado-sim", "--check-history", self.history), OK)
        with open(self.history) as f:
            self.assertGreater(sum(json.loads(line)["ok"] is True for line in f), at_least)
        return json.loads(out)

    def well_again(self, cluster):
        self.eventually("all vote", lambda: cluster.status()[1]["voting"] == 3, 30)
        self.expect(cluster.avocado("put", "after", "1"), OK)
        self.assertEqual(self.expect(cluster.avocado("get", "after"), OK).stdout, b"1")

    def test_a_switch_that_does_everything(self):
        with Switch() as s:
            s.tell("both 1 lose 10 twice 30 late 30 flip 20 cut 10 move 5 replay 50 forge 500")
            self.finish(s.load(5, self.history), 100)
            s.tell("")
            self.well_again(s.cluster)
            self.account(s, inward=False)
            for n in (1, 2, 3):
                did = s.did(n)["in"]
                for what in ("repeated", "spoiled", "replayed", "forged", "lost", "late", "moved"):
                    self.assertGreater(did[what], 0, what)
            # What was recorded comes back when all replicas are new, and what they are sent too.
            self.expect(s.cluster.down(), OK)
            self.expect(s.cluster.up(), OK)
            self.assertEqual(s.cluster.avocado("get", "after").returncode, NOT_FOUND)
            s.tell("twice 100 replay 300")
            self.finish(s.load(2, self.history), 100)
            s.tell("")
            self.account(s)
            for n in (1, 2, 3):
                self.assertGreater(s.did(n)["in"]["replayed"], 100)

    def test_a_host_that_rewrites_what_it_has_published(self):
        with Switch() as s:
            load = s.load(5, self.history)
            self.eventually("the load runs", lambda: total(s.cluster.shards(2), "puts") > 20)
            s.tell("race 1000", nodes=(1, 2))
            self.finish(load, 100)
            s.tell("")
            self.well_again(s.cluster)
            for n in (1, 2):
                shards = s.cluster.shards(n)
                caught = total(shards, "ring_bad") + sum(shards[0]["rpc"][r] for r in REFUSALS)
                self.assertGreater(caught, 0, "no lie was seen")
                self.assertEqual(total(shards, "bad_descriptors"), 0)

    def test_a_host_that_stalls(self):
        with Switch() as s:
            s.tell("stall 400", nodes=(3,))
            self.finish(s.load(4, self.history), 100)
            s.tell("")
            self.well_again(s.cluster)

    def test_a_flood_of_forged_datagrams(self):
        with Switch() as s:
            before = {n: total([x["rpc"] for x in s.cluster.shards(n)], "sessions") for n in (1, 2, 3)}
            s.tell("forge 20000")
            result = self.finish(s.load(4, self.history), 100)
            self.assertEqual(result["errors"], 0)
            for n in (1, 2, 3):
                rpc = s.cluster.shards(n)[0]["rpc"]
                self.assertGreater(rpc["unknown_index"] + rpc["malformed"] + rpc["auth_failed"], 10000)
                self.assertEqual(rpc["sessions_down"], 0, "a connection was lost")
                self.assertGreaterEqual(rpc["sessions"], before[n])
                self.assertLessEqual(rpc["opened"], s.did(n)["in"]["genuine"])
