# SPDX-License-Identifier: Apache-2.0
"""What is measured. Each experiment knows its runs beforehand, so that progress can say how long it takes.

A run is one call of bench-peers against a system that is up. Repetitions are interleaved: every series and
point once, then all again, so that what disturbs the machine disturbs all alike.
"""

import csv
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from . import plots
from .systems import PEERS, Avocado, Memcached, Missing, RedisAlone, RedisWait1, System

READ_RATIOS = [("put", 0), ("a", 50), ("b", 95), ("get", 100)]


def median(values):
    return statistics.median(values), min(values), max(values)


class Context:
    """What all experiments share: where programs are, how long runs take, who tells the user."""

    def __init__(self, build, folder, quick, progress):
        self.build, self.folder, self.quick, self.progress = Path(build), Path(folder), quick, progress
        self.seconds = 1.0 if quick else 4.0
        self.warmup = 0.3 if quick else 1.0
        self.repetitions = 1 if quick else 3
        self.records = 20_000 if quick else 100_000
        self.loaded = set()
        self.n = 0

    def up(self, stack, factory, *args, **kw):
        """A running system, or None when its programs are missing."""
        self.n += 1
        try:
            return stack.enter_context(factory(self.build, self.folder / str(self.n), *args, **kw))
        except Missing as e:
            self.progress.note(str(e))
            return None

    def bench(self, system, workload, records=None, value_size=64, clients=None, depth=None, rate=None,
              seconds=None, extra=()):
        """One run; its JSON. Loads the records if this system does not have them yet."""
        records = records or self.records
        what = (id(system), records, value_size)
        words = [self.build / "peers/bench-peers", "--cluster", system.cluster, "--workload", workload,
                 "--records", records, "--key-size", 16, "--value-size", value_size, "--uniform", "--clients",
                 clients or system.clients, "--depth", depth or system.depth, "--seconds",
                 seconds or self.seconds, "--warmup", self.warmup, "--quiet", "--json", "-", *extra]
        words += ["--no-load"] if what in self.loaded else []
        words += ["--rate", int(rate)] if rate else []
        done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60 + 4 * (seconds or self.seconds))
        if done.returncode != 0:
            raise RuntimeError(f"{system.name}: {done.stderr.decode(errors='replace').strip()}")
        self.loaded.add(what)
        return json.loads(done.stdout)


class Experiment:
    name = title = text = ""

    def runs(self, c):
        """How many runs it will be, about."""
        raise NotImplementedError

    def measure(self, c):
        """The raw figures, for JSON."""
        raise NotImplementedError

    def show(self, data):
        """HTML from them."""
        raise NotImplementedError


def repeat(c, experiment, cells):
    """cells: [(series, x, callable)]. {series: {x: [result, ...]}}, interleaved."""
    out = {}
    for n in range(c.repetitions):
        for series, x, run in cells:
            c.progress.step(f"{experiment}: {series}, {x}" + (f", round {n + 1}" if c.repetitions > 1 else ""))
            out.setdefault(series, {}).setdefault(str(x), []).append(run())
    return out


def all_systems(c, stack):
    found = [c.up(stack, Avocado)] + [c.up(stack, p) for p in PEERS]
    return [s for s in found if s is not None]


def errors_note(data):
    bad = [f"{series} at {x}: {sum(r['errors'] for r in runs)}" for series, by_x in data.items()
           for x, runs in by_x.items() if sum(r["errors"] for r in runs) > 0]
    return f"<p class='warn'>Failed operations: {'; '.join(bad)}.</p>" if bad else ""


class ReadRatio(Experiment):
    name, title = "read_ratio", "Throughput by share of reads"
    text = ("16-byte keys, 64-byte values, drawn uniformly, 128 operations in flight. Read the guarantees first: "
            "only Avocado and etcd are linearizable, and only Avocado and etcd survive the loss of a node "
            "without losing acknowledged writes.")

    def runs(self, c):
        return (len(PEERS) + 1) * len(READ_RATIOS) * c.repetitions

    def measure(self, c):
        with ExitStack() as stack:
            systems = all_systems(c, stack)
            return repeat(c, self.title, [
                (s.name, share, lambda s=s, w=w: c.bench(s, w)) for w, share in READ_RATIOS for s in systems])

    def show(self, data):
        groups = {f"{share} % reads": {s: median([r["ops_per_s"] for r in by_x[str(share)]])
                                       for s, by_x in data.items()} for _, share in READ_RATIOS}
        rows = ["<table><tr><th>operations/s (ratio of Avocado to it)" +
                "".join(f"<th>{share} % reads" for _, share in READ_RATIOS) + "</tr>"]
        ours = {g: e["Avocado"][0] for g, e in groups.items()}
        for s in data:
            rows.append(f"<tr><th>{s}" + "".join(
                f"<td>{e[s][0]:,.0f}" + ("" if s == "Avocado" else f" ({ours[g] / e[s][0]:.2f}×)")
                for g, e in groups.items()) + "</tr>")
        return (plots.bars(groups, list(data), "operations per second", y_log=True) + "\n".join(rows) +
                "</table>" + errors_note(data))


class ValueSize(Experiment):
    name, title = "value_size", "Throughput by size of values"
    text = "YCSB A (half reads, half writes), 8 clients with 16 in flight (etcd and memcached: 128 with one)."

    def sizes(self, c):
        return [64, 1024, 16384] if c.quick else [16, 64, 256, 1024, 4096, 16384, 65536]

    def runs(self, c):
        return (len(PEERS) + 1) * len(self.sizes(c)) * c.repetitions

    def measure(self, c):
        with ExitStack() as stack:
            systems = all_systems(c, stack)
            return repeat(c, self.title, [
                (s.name, size, lambda s=s, size=size: c.bench(
                    s, "a", records=max(1000, min(c.records, (64 << 20) // size)), value_size=size))
                for size in self.sizes(c) for s in systems])

    def show(self, data):
        series = {s: [(int(x), *median([r["ops_per_s"] for r in runs])) for x, runs in by_x.items()]
                  for s, by_x in data.items()}
        return plots.lines(series, "bytes of a value", "operations per second", x_log=True, y_log=True) + errors_note(data)


class Unloaded(Experiment):
    name, title = "unloaded", "Latency without load"
    text = "One client, one operation at a time."

    def runs(self, c):
        return (len(PEERS) + 1) * 2 * c.repetitions

    def measure(self, c):
        with ExitStack() as stack:
            systems = all_systems(c, stack)
            return repeat(c, self.title, [
                (s.name, w, lambda s=s, w=w: c.bench(s, w, clients=1, depth=1))
                for w in ("get", "put") for s in systems])

    def show(self, data):
        rows = "".join(f"<tr><th>{s}" + "".join(
            f"<td>{median([r['p50_us'] for r in by_x[w]])[0]:,.0f}<td>{median([r['p99_us'] for r in by_x[w]])[0]:,.0f}"
            for w in ("get", "put")) + "</tr>" for s, by_x in data.items())
        return ("<table><tr><th>µs<th>get p50<th>get p99<th>put p50<th>put p99</tr>" + rows + "</table>" +
                errors_note(data))


class LatencyCurve(Experiment):
    name, title = "latency_curve", "Latency against throughput"
    text = ("YCSB A in an open loop: operations begin at the given rate whether or not earlier ones have ended, and "
            "latency counts from when an operation was due. Points end where the store does not keep up.")
    systems = [Avocado, RedisAlone, RedisWait1]

    def parts(self, c):
        return [0.3, 0.7] if c.quick else [0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95]

    def runs(self, c):
        return len(self.systems) * (1 + len(self.parts(c)) * c.repetitions)

    def measure(self, c):
        with ExitStack() as stack:
            systems = [s for s in (c.up(stack, f) for f in self.systems) if s is not None]
            cells = []
            for s in systems:
                c.progress.step(f"{self.title}: the most that {s.name} does")
                most = c.bench(s, "a", depth=32)["ops_per_s"]
                cells += [(s.name, round(most * part), lambda s=s, rate=most * part: c.bench(
                    s, "a", rate=rate, depth=128)) for part in self.parts(c)]
            return repeat(c, self.title, cells)

    def show(self, data):
        out = ""
        for field, title in (("p50_us", "median"), ("p99_us", "99th percentile")):
            series = {s: [(median([r["ops_per_s"] for r in runs])[0], *median([r[field] for r in runs]))
                          for runs in by_x.values() if sum(r["behind"] for r in runs) < len(runs) * int(
                              runs[0]["config"]["rate"]) / 100] for s, by_x in data.items()}
            out += f"<h3>{title}</h3>" + plots.lines({s: p for s, p in series.items() if p},
                                                     "operations per second", "µs", y_log=True)
        return out + errors_note(data)


class Clusters(Experiment):
    """Avocado alone, set up in different ways: [(series, x, words for `avocado up`)]."""
    workloads = ("get", "put")

    def ways(self, c):
        raise NotImplementedError

    def runs(self, c):
        return len(self.ways(c)) * len(self.workloads) * c.repetitions

    def measure(self, c):
        out = {}
        for n in range(c.repetitions):
            for series, up in self.ways(c):
                with ExitStack() as stack:
                    s = c.up(stack, Avocado, up, "Avocado")
                    for w in self.workloads:
                        c.progress.step(f"{self.title}: {series}, {w}")
                        out.setdefault(w, {}).setdefault(str(series), []).append(c.bench(s, w))
        return out

    def show(self, data):
        names = list(data)
        groups = {}
        for w, by_x in data.items():
            for x, runs in by_x.items():
                groups.setdefault(x, {})[w] = median([r["ops_per_s"] for r in runs])
        return plots.bars(groups, names, "operations per second") + errors_note(data)


class Replicas(Clusters):
    name, title = "replicas", "Replicas of each key"
    text = "One, three and five replicas on the same two cores: each further one shares them."

    def ways(self, c):
        return [(f"{n} replicas", ("--nodes", str(n), "--rf", str(n))) for n in (1, 3, 5)]


class Shards(Clusters):
    name, title = "shards", "Shards of a node"
    text = "Each shard is a thread and a UDP port. There are no more cores than two here."

    def ways(self, c):
        return [(f"{n} shards", ("--workers", str(n))) for n in (1, 2, 4)]


class Protection(Clusters):
    name, title = "protection", "What each way of running costs"
    text = ("There is no mode without encryption to compare with. What the seals cost is in the instruction counts "
            "of docs/performance.md; here are the ways of running that a user can choose.")

    def ways(self, c):
        return [("in process", ()), ("split mode", ("--io", "ring")),
                ("secret memory", ("--memory", "secret"))]

    def measure(self, c):
        try:
            return super().measure(c)
        except subprocess.CalledProcessError:
            c.progress.note("this machine has no memfd_secret(2) for --memory secret")
            self.ways = lambda _: [("in process", ()), ("split mode", ("--io", "ring"))]
            return super().measure(c)


class WorkingSet(Experiment):
    name, title = "working_set", "Working set against enclave memory"
    text = ("Keys of 16 bytes with values of 64 in 94 MiB of enclave memory for each node. Beyond some two million "
            "keys cold pages of the index lie sealed in host memory.")

    def sizes(self, c):
        return [10_000, 100_000, 400_000] if c.quick else [10_000, 100_000, 1_000_000, 2_000_000, 4_000_000]

    def runs(self, c):
        return len(self.sizes(c)) * 2

    def measure(self, c):
        out = {}
        for n in self.sizes(c):
            with ExitStack() as stack:
                s = c.up(stack, Avocado)
                for w in ("get", "put"):
                    c.progress.step(f"{self.title}: {n:,} keys, {w}")
                    out.setdefault(w, {}).setdefault(str(n), []).append(c.bench(s, w, records=n))
        return out

    def show(self, data):
        series = {w: [(int(x), *median([r["ops_per_s"] for r in runs])) for x, runs in by_x.items()]
                  for w, by_x in data.items()}
        return plots.lines(series, "keys", "operations per second", x_log=True) + errors_note(data)


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


ALL = [ReadRatio, Unloaded, ValueSize, LatencyCurve, Replicas, Shards, Protection, WorkingSet, Kill]
