# SPDX-License-Identifier: Apache-2.0
"""Avocado alone, set up in different ways; what an operation costs in each is measured beside its throughput."""

import csv
import json
import os
import shutil
import signal
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from . import plots
from .experiments import Experiment, errors_note, median
from .systems import Avocado


def bench_with_cost(c, system, workload, **kw):
    """As c.bench, and in "cost" what one operation takes: processor time of the cluster and of the load, datagrams
    and bytes that replicas send. The records must be there already."""
    before, load = system.spent(), os.times()
    r = c.bench(system, workload, **kw)
    now, after = os.times(), system.spent()
    # The warm-up is in the counters, too; it runs at the same speed.
    ops = max(1, r["ops"] * (1 + c.warmup / r["seconds"]))
    r["cost"] = {"replicas_us": (after["cpu_s"] - before["cpu_s"]) / ops * 1e6,
                 "load_us": (now.children_user + now.children_system - load.children_user -
                             load.children_system) / ops * 1e6,
                 "datagrams": (after["tx_packets"] - before["tx_packets"]) / ops,
                 "bytes": (after["tx_bytes"] - before["tx_bytes"]) / ops}
    return r


class Clusters(Experiment):
    """What a subclass compares: ways(), [(name, {arguments of Avocado}, {arguments of the bench})]."""
    workloads = ("get", "put")

    def ways(self, c):
        raise NotImplementedError

    def runs(self, c):
        return len(self.ways(c)) * len(self.workloads) * c.repetitions

    def measure(self, c):
        out = {}
        for n in range(c.repetitions):
            for name, system, bench in self.ways(c):
                with ExitStack() as stack:
                    try:
                        s = c.up(stack, Avocado, **system)
                    except RuntimeError as e:  # the machine cannot do this one
                        c.progress.note(f"{self.title}: {name} is left out: {e}")
                        continue
                    c.bench(s, "get", seconds=0.1)
                    for w in self.workloads:
                        c.progress.step(f"{self.title}: {name}, {w}")
                        out.setdefault(w, {}).setdefault(str(name), []).append(bench_with_cost(c, s, w, **bench))
        return out

    def show(self, data):
        groups = {}
        for w, by_x in data.items():
            for x, runs in by_x.items():
                groups.setdefault(x, {})[w] = median([r["ops_per_s"] for r in runs])
        rows = "".join(f"<tr><th>{x}" + "".join("<td>".join(["", *(f"{median([r['cost'][k] for r in data[w][x]])[0]:.2f}"
                                                                   for k in ("replicas_us", "load_us", "datagrams"))])
                                                if x in data[w] else "<td><td><td>" for w in data) + "</tr>" for x in groups)
        head = "".join(f"<th>{w}: CPU of replicas, µs<th>of the load, µs<th>datagrams" for w in data)
        return (plots.bars(groups, list(data), "operations per second") +
                f"<table><tr><th>one operation costs{head}</tr>{rows}</table>" + errors_note(data))


class Replicas(Clusters):
    name, title = "replicas", "Replicas of each key"
    text = "One, three and five replicas on the same cores: each further one shares them."

    def ways(self, c):
        return [(f"{n} replicas", {"up": ("--nodes", n, "--rf", n)}, {}) for n in (1, 3, 5)]


class Nodes(Clusters):
    name, title = "nodes", "Nodes, with three replicas of each key"
    text = ("Keys are spread over 3 to 9 nodes. All of them share the cores of this machine, so throughput cannot grow; what can be seen is "
            "whether an operation costs more when there are more nodes, which is what limits growth on machines of their own. The "
            "operations in flight grow with the nodes, 43 for each. A multiple of three nodes makes sets that share keys with nobody "
            "else; otherwise a node talks to more than two others, and datagrams are emptier.")

    def ways(self, c):
        return [(f"{n} nodes", {"up": ("--nodes", n, "--rf", 3)}, {"clients": 8, "depth": round(16 * n / 3)})
                for n in ((3, 6, 9) if c.quick else (3, 5, 7, 9))]


class Shards(Clusters):
    name, title = "shards", "Shards of a node"
    text = "Each shard is a thread and a UDP port. More shards than cores bring nothing."

    def ways(self, c):
        return [(f"{n} shards", {"up": ("--workers", n)}, {}) for n in (1, 2, 4)]


class Protection(Clusters):
    name, title = "protection", "What each protection costs"
    text = ("From nothing to everything, each step with those before it. The first two are programs that are made for this measurement (tests/unprotected), "
            "as no real one can be told not to encrypt. Software TEE: the enclave's memory is memfd_secret(2) memory, which the kernel itself does not map. "
            "Split mode: sockets in a process of their own, rings in shared memory between the two.")
    ordinary = ("--memory", "huge")  # locked, but mapped by the kernel as any other

    def programs(self, c, avocadod):
        folder = c.folder / Path(avocadod).name
        if not folder.exists():
            folder.mkdir()
            for name in ("avocado", "avocado-cas", "avocado-las"):
                shutil.copy(c.build / name, folder)
            shutil.copy(c.build / "tests/unprotected" / avocadod, folder / "avocadod")
        return folder

    def ways(self, c):
        return [("nothing", {"up": self.ordinary, "programs": self.programs(c, "avocadod-open"),
                             "load": c.build / "tests/unprotected/bench-peers-open"}, {}),
                ("network", {"up": self.ordinary, "programs": self.programs(c, "avocadod-open-store")}, {}),
                ("and store", {"up": self.ordinary}, {}),
                ("software TEE", {"up": ("--memory", "secret")}, {}),
                ("and split mode", {"up": ("--memory", "secret", "--io", "ring")}, {})]

    def runs(self, c):
        return 5 * len(self.workloads) * c.repetitions


class WorkingSet(Experiment):
    name, title = "working_set", "Working set against enclave memory"
    text = ("Keys of 16 bytes with values of 64, asked for uniformly. Beyond the budget of enclave memory of a node, cold pages of the index lie "
            "sealed in host memory. With a store alone, and ten million keys: scripts/working-set.")

    def budget_mib(self, c):
        return 16 if c.quick else 94

    def sizes(self, c):
        return ([10_000, 100_000, 300_000, 600_000] if c.quick else
                [10_000, 100_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000])

    def runs(self, c):
        return len(self.sizes(c)) * 2

    def measure(self, c):
        out = {"budget_mib": self.budget_mib(c), "get": {}, "put": {}}
        for n in self.sizes(c):
            with ExitStack() as stack:
                s = c.up(stack, Avocado, up=("--enclave-memory", f"{out['budget_mib']}M"))
                for w in ("get", "put"):
                    c.progress.step(f"{self.title}: {n:,} keys, {w}")
                    out[w].setdefault(str(n), []).append(c.bench(s, w, records=n))
        return out

    def show(self, data):
        runs_of = {w: data[w] for w in ("get", "put")}
        series = {w: [(int(x), *median([r["ops_per_s"] for r in runs])) for x, runs in by_x.items()]
                  for w, by_x in runs_of.items()}
        # 29 bytes and the key's own: docs/performance.md, "More keys than the enclave holds".
        full = data["budget_mib"] * 2**20 / (16 + 29)
        return plots.lines(series, "keys", "operations per second", x_log=True,
                           mark=[(full, f"{data['budget_mib']} MiB")]) + errors_note(runs_of)


class Kill(Experiment):
    name, title = "kill", "A replica dies"
    text = ("YCSB B with 32 operations in flight. One of three replicas gets SIGKILL; the supervisor starts it again as a "
            "new member, which copies everything and then votes.")

    def seconds(self, c):
        return 6 if c.quick else 16

    def runs(self, c):
        return 1

    def measure(self, c):
        records = c.records if c.quick else 500_000
        with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
            s = c.up(stack, Avocado)
            c.progress.step(self.title)
            c.bench(s, "get", records=records, seconds=0.1)
            path, seconds = Path(folder) / "t.csv", self.seconds(c)
            at = seconds / 3
            killer = threading.Timer(at + c.warmup, os.kill, (s.pid(2), signal.SIGKILL))
            killer.start()
            result = c.bench(s, "b", records=records, clients=4, depth=8, seconds=seconds,
                             extra=("--csv", path, "--interval", "0.1"))
            killer.join()
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(open(path))]
        return {"killed_at_s": at, "records": records, "timeline": rows, "result": result}

    def show(self, data):
        rows, mark = data["timeline"], [(data["killed_at_s"], "SIGKILL")]
        r = data["result"]
        return (plots.lines({"operations per second": [(x["seconds"], x["ops_per_s"]) for x in rows]}, "seconds",
                            "operations per second", mark=mark) +
                plots.lines({"p99": [(x["seconds"], x["p99_us"]) for x in rows],
                             "longest": [(x["seconds"], x["max_us"]) for x in rows]}, "seconds", "µs", y_log=True,
                            mark=mark) +
                f"<p>{data['records']:,} records; of {r['ops']:,} operations {r['errors']} did not succeed "
                f"({json.dumps(r['errors_by_status'])}), the longest took {r['max_us'] / 1000:.0f} ms.</p>")


ALL = [Replicas, Nodes, Shards, Protection, WorkingSet, Kill]
