# SPDX-License-Identifier: Apache-2.0
"""Replicas on machines of their own (netns.py), whose cables are pulled and put back under load."""

import json
import signal
import time
import unittest

from cluster import OK, run
from netns import ApartCase, namespaces_work


@unittest.skipUnless(namespaces_work(), "no network namespaces here (root, iproute2, veth)")
class Partition(ApartCase):
    def longest_gap_ms(self, returns, begin_ns, end_ns):
        within = sorted(t for t in returns if begin_ns <= t <= end_ns)
        return max(b - a for a, b in zip([begin_ns, *within], [*within, end_ns])) / 1e6

    def served(self, history):
        """When operations ended well, as far as the history has been written."""
        operations = map(json.loads, history.read_text().split("\n")[:-1])
        return [o["return_ns"] for o in operations if o["ok"] and o["return_ns"]]

    def test_cables_are_pulled_under_load(self):
        self.enter()
        w = self.world
        self.serving()
        history = w.dir / "h.jsonl"
        bench = self.bench("--workload", "mix", "--records", 6, "--seconds", 120, "--warmup", 0, "--clients", 6,
                           "--depth", 2, "--timeout", 1, "--history", history)
        self.addCleanup(bench.kill)
        self.eventually("the load runs", lambda: history.exists() and len(self.served(history)) > 100, 60)
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
        self.eventually("it serves again when the cables are back",
                        lambda: max(self.served(history), default=0) > events[-1][2], 60)
        time.sleep(0.5)
        bench.send_signal(signal.SIGINT)
        out, err = bench.communicate(timeout=60)
        self.assertEqual(bench.returncode, OK, err.decode())
        self.assertGreater(json.loads(out)["ops"], 500)
        operations = [json.loads(line) for line in history.read_text().splitlines()]
        done = self.served(history)
        for name, begin, end in events:
            print(f"    {name}: longest gap {self.longest_gap_ms(done, begin, end):.0f} ms", flush=True)
        # Without a majority nothing completes: neither writes nor reads, which could be stale.
        _, begin, end = events[-1]
        alone = [o for o in operations if o["ok"] and o["return_ns"] and
                 begin < o["invoke_ns"] and o["return_ns"] < end]
        self.assertEqual(alone, [], "somebody served without a majority")
        self.expect(run("avocado-sim", "--check-history", history), OK, "linearizable")
        for node in (1, 2, 3):
            self.assertIsNone(w.running[f"n{node}"].poll(), w.log(f"n{node}"))
