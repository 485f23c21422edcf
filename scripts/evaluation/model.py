# SPDX-License-Identifier: Apache-2.0
"""What an operation costs, and what that makes of machines that we do not have.

Measured: processor time of replicas and of the load, datagrams and bytes of the replicas, all for one operation, at several depths.
The model has two parts. An operation costs the replicas

    cpu = work + wake * datagrams

where work is what it takes whatever the depth, and wake what each datagram costs, the kernel and the waking of a sleeper included; both are
fitted to the depths. And it costs the same wherever it runs, and nothing else limits: N nodes of C cores with a NIC of B bit/s in each direction do

    min(N * C / cpu,  N * B / (8 * bytes))

operations a second, where cpu and bytes are those of all replicas of an operation together. Keys are spread over the nodes, each
key has three replicas, so the cost of an operation does not depend on N (the experiment with 3 to 9 nodes looks). The check: on this machine,
where the load has its share of the cores, the same formula with N * C = the cores and the load's processor time added must give what was
measured.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack

from benchlib import ROOT

from .clusters import bench_with_cost
from .experiments import Experiment, median
from .systems import Avocado

CLUSTERS = [(3, 8), (3, 16), (6, 16), (9, 16), (12, 16)]  # nodes, cores of each
NIC_BITS = 25e9


class Counts(Experiment):
    name, title = "counts", "What an operation costs apart from the kernel"
    text = ("Counted, not timed, so it is the same on every machine: a client and three replicas in one thread under callgrind (scripts/instructions). Of one operation: "
            "instructions that each end takes, messages, datagrams and bytes that it sends. The coordinator is the replica that "
            "the client asks; members are the other two together.")

    def runs(self, c):
        return 1

    def measure(self, c):
        c.progress.step(self.title)
        done = subprocess.run([sys.executable, str(ROOT / "scripts/instructions"), "--build", str(c.build), "--no-build",
                               "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)

    def show(self, data):
        ends = ("client", "coordinator", "members")
        rows = ["<table><tr><th>of one operation<th>" + "<th>".join(ends) + "<th>together</tr>"]
        for name, case in data["cases"].items():
            for what, by_end, digits in (("instructions", case["ends"], 0), ("messages", case["messages"], 1),
                                         ("datagrams", case["datagrams"], 2), ("bytes", case["bytes"], 0)):
                rows.append(f"<tr><th>{name}: {what}" + "".join(f"<td>{by_end[e]:,.{digits}f}" for e in ends) +
                            f"<td>{sum(by_end.values()):,.{digits}f}</tr>")
        layers = list(next(iter(data["cases"].values()))["layers"])
        rows.append("</table><table><tr><th>instructions by layer<th>" + "<th>".join(layers) + "</tr>")
        for name, case in data["cases"].items():
            rows.append(f"<tr><th>{name}" + "".join(f"<td>{case['layers'].get(k, 0):,.0f}" for k in layers) + "</tr>")
        return "\n".join(rows) + "</table>"


def fit(points):
    """(work, wake) of cpu = work + wake * datagrams by least squares; points: [(datagrams, cpu)]."""
    n, sx, sy = len(points), sum(x for x, _ in points), sum(y for _, y in points)
    across = n * sum(x * x for x, _ in points) - sx * sx
    wake = (n * sum(x * y for x, y in points) - sx * sy) / across if across > 0 else 0.0
    return (sy - wake * sx) / n, wake


class Model(Experiment):
    name, title = "model", "Beyond this machine"
    text = __doc__.split("\n\n", 1)[1]
    workloads = ("get", "put", "a")

    def depths(self, c):
        return (16, 128) if c.quick else (4, 16, 64, 128)

    def runs(self, c):
        return len(self.workloads) * len(self.depths(c)) * c.repetitions

    def measure(self, c):
        out = {w: {} for w in self.workloads}
        with ExitStack() as stack:
            s = c.up(stack, Avocado)
            c.bench(s, "get", seconds=0.1)
            for n in range(c.repetitions):
                for w in self.workloads:
                    for depth in self.depths(c):
                        c.progress.step(f"{self.title}: {w}, 8 × {depth}")
                        r = bench_with_cost(c, s, w, clients=8, depth=depth)
                        out[w].setdefault(str(depth), []).append(
                            {"ops_per_s": r["ops_per_s"], "cores": os.cpu_count(), **r["cost"]})
        return out

    def show(self, data):
        middle = {w: {d: {k: median([r[k] for r in runs])[0] for k in runs[0]} for d, runs in by_depth.items()}
                  for w, by_depth in data.items()}
        rows = ["<table><tr><th>measured, for one operation<th>replicas' CPU µs<th>load's CPU µs<th>datagrams sent"
                "<th>bytes sent<th>operations/s<th>the model says</tr>"]
        for w, by_depth in middle.items():
            for depth, r in by_depth.items():
                says = r["cores"] / (r["replicas_us"] + r["load_us"]) * 1e6
                rows.append(f"<tr><th>{w}, 8 × {depth}<td>{r['replicas_us']:.2f}<td>{r['load_us']:.2f}<td>{r['datagrams']:.2f}"
                            f"<td>{r['bytes']:.0f}<td>{r['ops_per_s']:,.0f}<td>{says:,.0f}</tr>")
        rows.append("</table><table><tr><th>fitted, µs<th>work<th>wake</tr>")
        for w, by_depth in middle.items():
            work, wake = fit([(r["datagrams"], r["replicas_us"]) for r in by_depth.values()])
            rows.append(f"<tr><th>{w}<td>{work:.2f}<td>{wake:.1f}</tr>")
        rows.append("</table><table><tr><th>modelled, operations/s" +
                    "".join(f"<th>{n} nodes of {c} cores" for n, c in CLUSTERS) + "</tr>")
        for w, by_depth in middle.items():
            for depth, r in by_depth.items():
                cells = []
                for n, c in CLUSTERS:
                    by_cpu = n * c / r["replicas_us"] * 1e6
                    by_nic = n * NIC_BITS / 8 / r["bytes"]
                    cells.append(f"<td>{min(by_cpu, by_nic) / 1e6:.2f} M, by {'CPU' if by_cpu < by_nic else 'NIC'}")
                rows.append(f"<tr><th>{w}, datagrams as full as at 8 × {depth}" + "".join(cells) + "</tr>")
        return "\n".join(rows) + (f"</table><p>The lowest table is <b>not measured</b>. NICs of {NIC_BITS / 1e9:.0f} Gbit/s. It "
                                  "leaves out what real networks add: lower packing of datagrams when clients are many and "
                                  "slow, interrupts, and caches that are larger or smaller than here.</p>")


ALL = [Counts, Model]
