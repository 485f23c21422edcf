# SPDX-License-Identifier: Apache-2.0
"""Clusters and loads for the measuring scripts: everything on loopback, in temporary folders."""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# name, workload, clients, depth
CASES = [
    ("get, one at a time", "get", 1, 1),
    ("put, one at a time", "put", 1, 1),
    ("get, 8 clients x 16 in flight", "get", 8, 16),
    ("put, 8 clients x 16 in flight", "put", 8, 16),
    ("YCSB A, 8 clients x 16 in flight", "a", 8, 16),
    ("YCSB B, 8 clients x 16 in flight", "b", 8, 16),
    ("get, 8 clients x 128 in flight", "get", 8, 128),
    ("put, 8 clients x 128 in flight", "put", 8, 128),
]
ARGS = ["--records", "100000", "--key-size", "16", "--value-size", "64", "--uniform"]


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


@contextlib.contextmanager
def cluster(build, up=()):
    """A running cluster; its client.yaml. `up`: further words for `avocado up`."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "c"
        subprocess.run([str(build / "avocado"), "up", "--dir", str(data), *up], check=True,
                       stdout=subprocess.DEVNULL)
        try:
            yield data / "client.yaml"
        finally:
            subprocess.run([str(build / "avocado"), "down", "--dir", str(data)],
                           stdout=subprocess.DEVNULL)


def bench(build, client_yaml, case, seconds, load):
    """One run of avocado-bench: its JSON. `load`: the records are not there yet."""
    _, workload, clients, depth = case
    words = [build / "avocado-bench", "--cluster", client_yaml, "--workload", workload, "--clients",
             clients, "--depth", depth, "--seconds", seconds, "--json", "-", "--quiet", *ARGS]
    done = subprocess.run([str(w) for w in words] + ([] if load else ["--no-load"]),
                          stdout=subprocess.PIPE, check=True, timeout=seconds + 300)
    return json.loads(done.stdout)


def spread(values, digits=0):
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"
