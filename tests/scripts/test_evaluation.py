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

from evaluation import plots
from evaluation.experiments import ALL as MEASURED
from evaluation.model import Model

ALL = [*MEASURED, Model]


def run(ops_per_s, errors=0, behind=0, rate=0):
    return {"ops": ops_per_s, "ops_per_s": ops_per_s, "errors": errors, "p50_us": 100, "p99_us": 300,
            "max_us": 5000, "behind": behind, "errors_by_status": {}, "config": {"rate": rate}}


def made_up(name):
    if name == "kill":
        rows = [{"seconds": t / 10, "ops_per_s": 1000 + t, "p99_us": 200 + t, "max_us": 400 + t} for t in range(60)]
        return {"killed_at_s": 2, "records": 1234567, "timeline": rows, "result": run(7654321)}
    if name == "model":
        return {"get": {"ops_per_s": 100000, "cores": 2, "load_us": 5, "replicas_us": 15, "datagrams": 0.5, "bytes": 300}}
    points = {"read_ratio": [0, 50, 95, 100], "unloaded": ["get", "put"], "value_size": [16, 1024],
              "working_set": [10000, 1000000], "latency_curve": [1000, 2000]}.get(name, ["one", "two"])
    series = ["get", "put"] if name in ("replicas", "shards", "protection", "working_set") else ["Avocado", "etcd TLS"]
    return {s: {str(x): [run(31415 * (i + 1), rate=1000)] for x in points} for i, s in enumerate(series)}


class Page(unittest.TestCase):
    def page(self, experiments):
        with tempfile.TemporaryDirectory() as d:
            data = {"machine": "<m&m>", "commit": "c0ffee", "quick": True, "seconds": 1, "date": "today",
                    "repetitions": 1, "notes": ["a note"], "experiments": experiments}
            (Path(d) / "f.json").write_text(json.dumps(data))
            subprocess.run([sys.executable, ROOT / "scripts/evaluate", "--show", Path(d) / "f.json", "--out", d],
                           check=True)
            return (Path(d) / "index.html").read_text()

    def test_all_experiments(self):
        page = self.page({e.name: made_up(e.name) for e in ALL})
        for e in ALL:
            self.assertIn(e.title, page)
        self.assertIn("31,415", page)
        self.assertIn("(0.50×)", page)  # of the other's throughput in ours
        self.assertIn("&lt;m&amp;m&gt;", page)
        self.assertIn("a note", page)
        self.assertNotRegex(page, r"(src|href)=")
        svgs = re.findall(r"<svg.*?</svg>", page, re.S)
        self.assertIn("<td>100,000<td>100,000</tr>", page)  # two cores, 20 us an operation
        self.assertIn("<td>1.60 M, by CPU", page)           # 24 cores, 15 us
        self.assertGreaterEqual(len(svgs), len(MEASURED))
        for svg in svgs:
            xml.dom.minidom.parseString(svg)
            self.assertNotIn("nan", svg)

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


if __name__ == "__main__":
    unittest.main()
