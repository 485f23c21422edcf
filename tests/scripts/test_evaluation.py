# SPDX-License-Identifier: Apache-2.0
"""The evaluation's page, from figures that were made up: all of them are on it, and it needs nothing else."""

import json
import re
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from evaluation import ALL, clusters, flames, plots

CLUSTERS = {e.name for e in clusters.ALL if issubclass(e, clusters.Clusters)}


def run(ops_per_s, errors=0, behind=0, rate=0):
    return {"ops": ops_per_s, "ops_per_s": ops_per_s, "errors": errors, "p50_us": 100, "p99_us": 300,
            "max_us": 5000, "behind": behind, "errors_by_status": {}, "config": {"rate": rate},
            "cost": {"replicas_us": 7.25, "load_us": 3, "datagrams": 0.5, "bytes": 300}}


def made_up(name):
    if name == "kill":
        rows = [{"seconds": t / 10, "ops_per_s": 1000 + t, "p99_us": 200 + t, "max_us": 400 + t} for t in range(60)]
        return {"killed_at_s": 2, "records": 1234567, "timeline": rows, "result": run(7654321)}
    if name == "model":
        at = {"ops_per_s": 100000, "cores": 2, "load_us": 5, "replicas_us": 15, "datagrams": 0.5, "bytes": 300}
        return {"get": {"16": [at], "128": [{**at, "replicas_us": 6, "datagrams": 0.1}]}}
    if name == "attestation":
        return {"joins": {"a join": [{"p50_ms": 8.25, "p99_ms": 17, "per_s": 123}]}, "verdicts": {"sgx": [2.5, 3.5, 4.5]}}
    if name == "counts":
        ends = {"client": 5000, "coordinator": 10000, "members": 1234}
        return {"compiler": "gcc", "cases": {"get, 1 in flight": {
            "instructions": 16234, "layers": {"rpc": 7777, "store": 1111}, "ends": ends,
            **{k: {"client": 1, "coordinator": 2, "members": 1.5} for k in ("messages", "datagrams", "bytes")}}}}
    points = {"deep": [0, 50, 95, 100], "deepest": [0, 50, 95, 100], "read_ratio": [0, 50, 95, 100], "unloaded": ["get", "put"], "value_size": [16, 1024],
              "working_set": [10000, 1000000], "latency_curve": [1000, 2000]}.get(name, ["one", "two"])
    series = ["get", "put"] if name in (*CLUSTERS, "working_set") else ["Avocado", "etcd TLS"]
    figures = {s: {str(x): [run(31415 * (i + 1), rate=1000)] for x in points} for i, s in enumerate(series)}
    return {"budget_mib": 94, **figures} if name == "working_set" else figures


class Page(unittest.TestCase):
    def page(self, *parts):
        with tempfile.TemporaryDirectory() as d:
            names = [self.figures(Path(d) / f"{i}.json", p) for i, p in enumerate(parts)]
            subprocess.run([sys.executable, ROOT / "scripts/evaluate", "--show", *names, "--out", d], check=True)
            return (Path(d) / "index.html").read_text()

    def figures(self, path, experiments):
        path.write_text(json.dumps({"machine": "<m&m>", "commit": "c0ffee", "quick": True, "seconds": 1, "date": "today",
                                    "repetitions": 1, "load_before": 7.3, "notes": ["a note"],
                                    "experiments": experiments}))
        return path

    def test_all_experiments(self):
        page = self.page({e.name: made_up(e.name) for e in ALL})
        for e in ALL:
            self.assertIn(e.title, page)
        self.assertIn("31,415", page)
        self.assertIn("(0.50×)", page)  # of the other's throughput in ours
        self.assertIn("&lt;m&amp;m&gt;", page)
        self.assertIn("a note", page)
        self.assertIn("load average 7.3", page)
        self.assertIn("<td>7.25<td>3.00<td>0.50", page)     # what an operation costs a cluster
        self.assertIn("a join<td>8.25<td>17.0<td>123", page)
        self.assertIn("SGX, 3 samples<td>3.50", page)
        self.assertIn("get, 1 in flight: messages<td>1.0<td>2.0<td>1.5<td>4.5", page)
        self.assertIn("<td>7,777<td>1,111", page)
        self.assertNotRegex(page, r"(src|href)=")
        svgs = re.findall(r"<svg.*?</svg>", page, re.S)
        self.assertIn("<td>100,000<td>100,000</tr>", page)  # two cores, 20 us an operation
        self.assertIn("<td>1.60 M, by CPU", page)           # 24 cores, 15 us
        self.assertIn("get<td>3.75<td>22.5", page)          # the line through (0.5, 15) and (0.1, 6)
        self.assertGreaterEqual(len(svgs), len(ALL) - 4)  # which are tables
        for svg in svgs:
            xml.dom.minidom.parseString(svg)
            self.assertNotIn("nan", svg)

    def test_ratios_are_of_the_same_round(self):
        rounds = lambda *values: {str(x): [run(v) for v in values] for x in (0, 50, 95, 100)}
        page = self.page({"read_ratio": {"Avocado": rounds(100, 400, 200), "etcd TLS": rounds(100, 100, 100)}})
        self.assertIn("(2.00×, 1.00 to 4.00)", page)

    def test_parts_make_one_page(self):
        page = self.page({"unloaded": made_up("unloaded"), "deep": {"failed": "the first time"}},
                         {"deep": made_up("deep")})
        self.assertIn("with 800 in flight", page)
        self.assertIn("Latency without load", page)
        self.assertNotIn("the first time", page)

    def test_failures_are_said(self):
        page = self.page({"read_ratio": {"failed": "no such luck"}, "replicas": {
            "get": {"one": [run(100, errors=17)]}, "put": {"one": [run(100)]}}})
        self.assertIn("no such luck", page)
        self.assertIn("get at one: 17", page)


class Plots(unittest.TestCase):
    def test_ticks_are_round_and_inside(self):
        self.assertEqual(plots.ticks(0, 95, False), [0, 20, 40, 60, 80])
        self.assertEqual(plots.ticks(0.13, 6.2, False), [2, 4, 6])
        self.assertEqual(plots.ticks(16, 65536, True), [100, 1000, 10000])

    def test_points_lie_where_they_should(self):
        svg = plots.lines({"a": [(0, 0), (10, 100)]}, "x", "y")
        at = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', svg)[1].split()]
        self.assertEqual(at[0], (plots.LEFT, plots.HEIGHT - plots.BOTTOM))
        self.assertEqual(at[1][0], plots.WIDTH - plots.RIGHT)
        self.assertLess(at[1][1], at[0][1])


PERF = """shard 77 1.5:  1 cpu-clock:ppp:
\tffffffff81 udp_sendmsg+0x5 ([kernel.kallsyms])
\tffffffff82 do_syscall_64+0x5 ([kernel.kallsyms])
\t        11 __sendmmsg+0x1 (/lib/libc.so.6)
\t        12 tx+0x1 (/b/avocadod)

shard 77 1.6:  1 cpu-clock:ppp:
\t        21 aes_gcm_enc.part.0+0x1 (/lib/libIPSec_MB.so)
\t        22 rpc_transmit+0x1 (/b/avocadod)

avocado-bench 78 1.7: 1 cpu-clock:ppp:
\t        31 memcpy+0x1 (/lib/libc.so.6)
\t        32 store_read<&+0x1 (/b/avocadod)

"""


class Flames(unittest.TestCase):
    def test_stacks_are_folded(self):
        stacks = flames.fold(PERF.splitlines())
        self.assertEqual(stacks[("shard", "rpc_transmit", "aes_gcm_enc")], 1)
        self.assertEqual(stacks[("shard", "tx", "__sendmmsg", "do_syscall_64_[k]", "udp_sendmsg_[k]")], 1)
        third = 1 / 3
        self.assertEqual(flames.shares(stacks), {"kernel: network": third, "AES-GCM": third, "store": third})

    def test_the_picture(self):
        svg = flames.svg(flames.fold(PERF.splitlines()), "a < b")
        xml.dom.minidom.parseString(svg)
        self.assertIn("<title>shard: 66.7%</title>", svg)
        self.assertIn("<title>store_read&lt;&amp;: 33.3%</title>", svg)
        widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="16"', svg)]
        self.assertAlmostEqual(max(widths), flames.WIDTH * 2 / 3, delta=0.1)


if __name__ == "__main__":
    unittest.main()
