# SPDX-License-Identifier: Apache-2.0
"""What an operation costs, and what that makes of machines that we do not have.

Measured: processor time of replicas and of the load, datagrams and bytes of the replicas, all for one operation, with 128 in flight.
The model: an operation costs the same wherever it runs, and nothing else limits. Then N nodes of C cores with a NIC of B bit/s
in each direction do

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
from .experiments import Experiment
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


class Model(Experiment):
    name, title = "model", "Beyond this machine"
    text = __doc__.split("\n\n", 1)[1]
    workloads = ("get", "put", "a")

    def runs(self, c):
        return len(self.workloads)

    def measure(self, c):
        out = {}
        with ExitStack() as stack:
            s = c.up(stack, Avocado)
            c.bench(s, "get", seconds=0.1)
            for w in self.workloads:
                c.progress.step(f"{self.title}: {w}")
                r = bench_with_cost(c, s, w, seconds=c.seconds * 2)
                out[w] = {"ops_per_s": r["ops_per_s"], "cores": os.cpu_count(), **r["cost"]}
        return out

    def show(self, data):
        rows = ["<table><tr><th>measured, for one operation<th>replicas' CPU µs<th>load's CPU µs<th>datagrams sent"
                "<th>bytes sent<th>operations/s<th>the model says</tr>"]
        for w, r in data.items():
            says = r["cores"] / (r["replicas_us"] + r["load_us"]) * 1e6
            rows.append(f"<tr><th>{w}<td>{r['replicas_us']:.2f}<td>{r['load_us']:.2f}<td>{r['datagrams']:.2f}"
                        f"<td>{r['bytes']:.0f}<td>{r['ops_per_s']:,.0f}<td>{says:,.0f}</tr>")
        rows.append("</table><table><tr><th>modelled, operations/s" +
                    "".join(f"<th>{n} nodes of {c} cores" for n, c in CLUSTERS) + "</tr>")
        for w, r in data.items():
            cells = []
            for n, c in CLUSTERS:
                by_cpu = n * c / r["replicas_us"] * 1e6
                by_nic = n * NIC_BITS / 8 / r["bytes"]
                cells.append(f"<td>{min(by_cpu, by_nic) / 1e6:.2f} M, by {'CPU' if by_cpu < by_nic else 'NIC'}")
            rows.append(f"<tr><th>{w}" + "".join(cells) + "</tr>")
        return "\n".join(rows) + (f"</table><p>The lower table is <b>not measured</b>. NICs of {NIC_BITS / 1e9:.0f} Gbit/s. It "
                                  "leaves out what real networks add: lower packing of datagrams when clients are many and "
                                  "slow, interrupts, and caches that are larger or smaller than here.</p>")


ALL = [Counts, Model]
