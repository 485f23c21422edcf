# SPDX-License-Identifier: Apache-2.0
"""What is measured. Each experiment knows its runs beforehand, so that progress can say how long it takes.

A run is one call of bench-peers against a system that is up. Repetitions are interleaved: every series and
point once, then all again, so that what disturbs the machine disturbs all alike.
"""

import json
import statistics
import subprocess
from contextlib import ExitStack
from pathlib import Path

from . import plots
from .systems import PEERS, Avocado, Missing, RedisAlone, RedisWait1, RedisWait16

READ_RATIOS = [("put", 0), ("a", 50), ("b", 95), ("get", 100)]


def median(values):
    return statistics.median(values), min(values), max(values)


class Context:
    """What all experiments share: where programs are, how long runs take, who tells the user."""

    def __init__(self, build, folder, quick, progress):
        self.build, self.folder, self.quick, self.progress = Path(build), Path(folder), quick, progress
        self.seconds = 0.7 if quick else 2.0
        self.warmup = 0.2 if quick else 0.5
        self.repetitions = 1 if quick else 3
        self.records = 20_000 if quick else 100_000
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
        """One run; its JSON. Loads the records if this system does not have them yet, with its own clients and depth."""
        records = records or self.records
        words = [system.load, "--cluster", system.cluster, "--records", records, "--key-size", 16, "--value-size", value_size,
                 "--uniform", "--quiet", "--json", "-"]
        if (records, value_size) not in system.loaded:
            self.run(system, [*words, "--workload", "get", "--clients", system.clients, "--depth", system.depth,
                              "--seconds", 0.05, "--warmup", 0], 60 + records / 1000)
            system.loaded.add((records, value_size))
        words += ["--no-load", "--workload", workload, "--clients", clients or system.clients, "--depth", depth or system.depth,
                  "--seconds", seconds or self.seconds, "--warmup", self.warmup, *extra]
        words += ["--rate", int(rate)] if rate else []
        return self.run(system, words, 60 + 4 * (seconds or self.seconds))

    def run(self, system, words, patience_s):
        done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=patience_s)
        if done.returncode != 0:
            raise RuntimeError(f"{system.name}: {done.stderr.decode(errors='replace').strip()}")
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


def all_systems(c, stack, factories=(Avocado, *PEERS)):
    return [s for s in (c.up(stack, f) for f in factories) if s is not None]


def errors_note(data):
    bad = [f"{series} at {x}: {sum(r['errors'] for r in runs)}" for series, by_x in data.items()
           for x, runs in by_x.items() if sum(r["errors"] for r in runs) > 0]
    return f"<p class='warn'>Failed operations: {'; '.join(bad)}.</p>" if bad else ""


def ratio(ours, theirs):
    """Of the rounds' ratios: median, and the range if there are several. What disturbs the machine disturbs both."""
    middle, low, high = median([a["ops_per_s"] / b["ops_per_s"] for a, b in zip(ours, theirs)])
    return f"{middle:.2f}×" if low == high else f"{middle:.2f}×, {low:.2f} to {high:.2f}"


class ReadRatio(Experiment):
    name, title = "read_ratio", "Throughput by share of reads"
    text = ("16-byte keys, 64-byte values, drawn uniformly, 128 operations in flight. Read the guarantees first: "
            "only Avocado and etcd are linearizable, and only Avocado and etcd survive the loss of a node "
            "without losing acknowledged writes.")
    in_flight = {}  # clients and depth, where they are not the system's own

    def ratios(self, c):
        return READ_RATIOS

    def factories(self):
        return [Avocado, *PEERS]

    def runs(self, c):
        return len(self.factories()) * len(self.ratios(c)) * c.repetitions

    def measure(self, c):
        with ExitStack() as stack:
            systems = all_systems(c, stack, self.factories())
            return repeat(c, self.title, [
                (s.name, share, lambda s=s, w=w: c.bench(s, w, **self.in_flight))
                for w, share in self.ratios(c) for s in systems])

    def show(self, data):
        shares = list(next(iter(data.values())))
        groups = {f"{share} % reads": {s: median([r["ops_per_s"] for r in by_x[share]])
                                       for s, by_x in data.items()} for share in shares}
        rows = ["<table><tr><th>operations/s (ratio of Avocado to it)" +
                "".join(f"<th>{share} % reads" for share in shares) + "</tr>"]
        for s, by_x in data.items():
            rows.append(f"<tr><th>{s}" + "".join(
                f"<td>{groups[f'{share} % reads'][s][0]:,.0f}" +
                ("" if s == "Avocado" else f" ({ratio(data['Avocado'][share], by_x[share])})")
                for share in shares) + "</tr>")
        return (plots.bars(groups, list(data), "operations per second", y_log=True) + "\n".join(rows) +
                "</table>" + errors_note(data))


class Deep(ReadRatio):
    name, title = "deep", "The same with 800 in flight"
    text = ("50 connections with 16 in flight on each, as redis-benchmark is often run. Avocado gets the same: 50 clients of 16. "
            "etcd and memcached take one request at a time on a connection here and are left out.")
    in_flight = {"clients": 50, "depth": 16}

    def ratios(self, c):
        return [r for r in READ_RATIOS if r[1] in (0, 100)] if c.quick else READ_RATIOS

    def factories(self):
        return [Avocado, RedisAlone, RedisWait16, RedisWait1]


class Deepest(Deep):
    name, title = "deepest", "The same with 1,024 in flight"
    text = "8 connections with 128 in flight on each: what each store does when its clients never wait for it."
    in_flight = {"clients": 8, "depth": 128}


class ValueSize(Experiment):
    name, title = "value_size", "Throughput by size of values"
    text = "YCSB A (half reads, half writes), 8 clients with 16 in flight (etcd and memcached: 128 with one)."

    def sizes(self, c):
        return [64, 1024, 16384] if c.quick else [64, 256, 1024, 4096, 16384, 65536]

    def runs(self, c):
        return (len(PEERS) + 1) * len(self.sizes(c)) * c.repetitions

    def measure(self, c):
        with ExitStack() as stack:
            systems = all_systems(c, stack)
            return repeat(c, self.title, [
                (s.name, size, lambda s=s, size=size: c.bench(
                    s, "a", records=max(1000, min(20_000, (64 << 20) // size)), value_size=size))
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
                (s.name, w, lambda s=s, w=w: c.bench(s, w, records=5000, clients=1, depth=1))
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
        return [0.3, 0.7] if c.quick else [0.1, 0.3, 0.5, 0.7, 0.9]

    def runs(self, c):
        return len(self.systems) * (1 + len(self.parts(c)) * c.repetitions)

    def measure(self, c):
        with ExitStack() as stack:
            systems = all_systems(c, stack, self.systems)
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


ALL = [ReadRatio, Deep, Deepest, Unloaded, ValueSize, LatencyCurve]
