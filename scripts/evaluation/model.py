# SPDX-License-Identifier: Apache-2.0
"""What an operation costs, and what that makes of machines that we do not have.

Measured: processor time of replicas and of the load, datagrams and bytes of the replicas, all for one operation.
The model: an operation costs the same wherever it runs, and nothing else limits. Then N nodes of C cores with a NIC of B bit/s
in each direction do

    min(N * C / cpu,  N * B / (8 * bytes))

operations a second, where cpu and bytes are those of all replicas of an operation together. Keys are spread over the nodes, each
key has three replicas, so the cost of an operation does not depend on N. The check: on this machine, where the load has its share
of the cores, the same formula with N * C = the cores and the load's processor time added must give what was measured.
"""

import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

from .experiments import Experiment
from .systems import Avocado

TICK = os.sysconf("SC_CLK_TCK")
CLUSTERS = [(3, 8), (3, 16), (6, 16), (12, 16)]  # nodes, cores of each
NIC_BITS = 25e9


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Model(Experiment):
    name, title = "model", "Beyond this machine"
    text = __doc__.split("\n\n", 1)[1]
    workloads = ("get", "put", "a")

    def runs(self, c):
        return len(self.workloads)

    def snapshot(self, c, s):
        """Of all replicas: seconds of processor time, datagrams and bytes sent."""
        done = subprocess.run([str(c.build / "avocado"), "status", "--cluster", s.cluster, "--json"],
                              stdout=subprocess.PIPE)
        nodes = [n["report"] for n in json.loads(done.stdout)["nodes"]]
        rpc = [shard["rpc"] for n in nodes for shard in n["shards"]]
        return {"cpu_s": sum(cpu_s(s.pid(n)) for n in (1, 2, 3)),
                **{k: sum(r[k] for r in rpc) for k in ("tx_packets", "tx_bytes")}}

    def measure(self, c):
        out = {}
        with ExitStack() as stack:
            s = c.up(stack, Avocado)
            c.bench(s, "get", seconds=0.1)
            for w in self.workloads:
                c.progress.step(f"{self.title}: {w}")
                before, load = self.snapshot(c, s), os.times()
                r = c.bench(s, w, seconds=c.seconds * 2)
                after, now = self.snapshot(c, s), os.times()
                # The warm-up is in the counters, too; it runs at the same speed.
                ops = r["ops"] * (1 + c.warmup / r["seconds"])
                out[w] = {"ops_per_s": r["ops_per_s"], "cores": os.cpu_count(),
                          "load_us": (now.children_user + now.children_system - load.children_user -
                                      load.children_system) / ops * 1e6,
                          "replicas_us": (after["cpu_s"] - before["cpu_s"]) / ops * 1e6,
                          "datagrams": (after["tx_packets"] - before["tx_packets"]) / ops,
                          "bytes": (after["tx_bytes"] - before["tx_bytes"]) / ops}
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

