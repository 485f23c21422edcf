# SPDX-License-Identifier: Apache-2.0
"""A hostile switch at every replica, and hosts that rewrite what they have put into the rings
(tests/hostile): what clients saw is linearizable, and every datagram is accounted for."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import BUILD, INDETERMINATE, NOT_FOUND, OK, UNAVAILABLE, Case, Cluster, run, total

REFUSALS = ("malformed", "unknown_index", "replay_old", "replay_dup", "auth_failed", "old_phase")
SERVED = 100  # operations, at least


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
        self.find_ports()
        return self

    def find_ports(self):
        """By which the switches are named. A cluster that starts again takes others if its own are not free."""
        self.ports = {row["node"]: int(row["address"].rsplit(":", 1)[1])
                      for row in self.cluster.status()[1]["nodes"]}

    def __exit__(self, *_):
        self.cluster.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self, words, nodes=(1, 2, 3)):
        for n in nodes:
            new = self.says / "new"
            new.write_text(words)
            new.rename(self.says / str(self.ports[n]))

    def did(self, node):
        """What a switch did so far; it says so first when it looks at the first packet."""
        path, until = self.says / f"{self.ports[node]}.did", time.monotonic() + 20
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return json.loads(path.read_text())

    def told_anew(self, node):
        """The same, written later than now: it is, ten times a second and more."""
        now, until = self.did(node)["told"], time.monotonic() + 10
        while (did := self.did(node))["told"] == now and time.monotonic() < until:
            time.sleep(0.01)
        return did

    def load(self, history):
        """avocado-bench in the background, which writes down what it saw until it is told to end."""
        return subprocess.Popen(
            [str(w) for w in (BUILD / "avocado-bench", "--cluster", self.cluster.yaml, "--workload", "a",
                              "--records", 20, "--value-size", 16, "--seconds", 600, "--clients", 3,
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
                before = switch.did(node)
                rpc = switch.cluster.shards(node)[0]["rpc"]
                # What was told before the report may not know of all that the report counts.
                after = switch.told_anew(node)
                arrived = [d["in"]["delivered"] - d["no_room"] for d in (before, after)]
                seen[1:] = [rpc, before, after]
                return (after["in"]["held"] == 0 and arrived[0] <= rpc["rx_packets"] <= arrived[1] and
                        rpc["rx_packets"] == rpc["opened"] + sum(rpc[r] for r in REFUSALS) and
                        (rpc["opened"] <= after["in"]["genuine"] or not inward))

            self.eventually(seen, fits)

    def storm(self, switch, seconds, enough=lambda: True, after_start=lambda: None):
        """A load for so many seconds, and on a slow machine until operations were served and `enough`."""
        load = switch.load(self.history)
        self.addCleanup(load.kill)
        began = time.monotonic()
        after_start()
        self.eventually("the load and what is done to it", lambda: (
            load.poll() is not None or time.monotonic() - began > seconds and
            self.served() > SERVED and enough()), 120)
        load.send_signal(signal.SIGINT)
        return self.finish(load)

    def finish(self, load):
        """The load ends well, or says what it could not know; its history is linearizable."""
        out, err = load.communicate(timeout=120)
        self.assertIn(load.returncode, (OK, UNAVAILABLE, INDETERMINATE), (out + err).decode())
        self.expect(run("avocado-sim", "--check-history", self.history), OK)
        self.assertGreater(self.served(), SERVED)
        return json.loads(out)

    def served(self):
        """Operations that ended well, as far as the history has been written."""
        if not self.history.exists():
            return 0
        lines = self.history.read_text().split("\n")[:-1]
        return sum(json.loads(line)["ok"] is True for line in lines)

    def well_again(self, cluster):
        self.eventually("all vote", lambda: cluster.status()[1]["voting"] == 3, 30)
        self.expect(cluster.avocado("put", "after", "1"), OK)
        self.assertEqual(self.expect(cluster.avocado("get", "after"), OK).stdout, b"1")

    def test_a_switch_that_does_everything(self):
        with Switch() as s:
            def begin():
                self.eventually("the load runs", lambda: self.served() > 0, 60)
                s.tell("both 1 lose 10 twice 30 late 30 flip 20 cut 10 move 5 replay 50 forge 500")

            kinds = ("repeated", "spoiled", "replayed", "forged", "lost", "late", "moved")
            self.storm(s, 5, lambda: all(s.did(n)["in"][kind] for n in (1, 2, 3) for kind in kinds),
                       begin)
            s.tell("")
            self.well_again(s.cluster)
            self.account(s, inward=False)
            # What was recorded comes back when all replicas are new, and what they are sent too.
            self.expect(s.cluster.down(), OK)
            self.expect(s.cluster.up(), OK)
            s.find_ports()
            for old in s.says.glob("*.did"):
                old.unlink()
            self.assertEqual(s.cluster.avocado("get", "after").returncode, NOT_FOUND)
            s.tell("twice 100 replay 300")
            self.storm(s, 2, lambda: all(s.did(n)["in"]["replayed"] > 100 for n in (1, 2, 3)))
            s.tell("")
            self.account(s)

    def test_a_host_that_rewrites_what_it_has_published(self):
        with Switch() as s:
            def caught(node):
                shards = s.cluster.shards(node)
                return total(shards, "ring_bad") + sum(shards[0]["rpc"][r] for r in REFUSALS)

            def lie():
                self.eventually("the load runs", lambda: total(s.cluster.shards(2), "puts") > 20, 60)
                s.tell("race 1000", nodes=(1, 2))

            self.storm(s, 5, lambda: caught(1) and caught(2), lie)
            s.tell("")
            self.well_again(s.cluster)
            for n in (1, 2):
                self.assertEqual(total(s.cluster.shards(n), "bad_descriptors"), 0)

    def test_a_host_that_stalls(self):
        with Switch() as s:
            s.tell("stall 400", nodes=(3,))
            self.storm(s, 4)
            s.tell("")
            self.well_again(s.cluster)

    def test_a_flood_of_forged_datagrams(self):
        with Switch() as s:
            before = {n: total([x["rpc"] for x in s.cluster.shards(n)], "sessions") for n in (1, 2, 3)}
            s.tell("forge 20000")

            def refused(node):
                rpc = s.cluster.shards(node)[0]["rpc"]
                return rpc["unknown_index"] + rpc["malformed"] + rpc["auth_failed"]

            result = self.storm(s, 4, lambda: all(refused(n) > 10000 for n in (1, 2, 3)))
            self.assertEqual(result["errors"], 0)
            for n in (1, 2, 3):
                rpc = s.cluster.shards(n)[0]["rpc"]
                self.assertEqual(rpc["sessions_down"], 0, "a connection was lost")
                self.assertGreaterEqual(rpc["sessions"], before[n])
                self.assertLessEqual(rpc["opened"], s.told_anew(n)["in"]["genuine"])
