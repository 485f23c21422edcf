#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the formal model of the replication protocol (avocado.pml) with spin, exhaustively.

usage: check.py [--more] [--jobs J] [--only WORD] [--work FOLDER] [--json FILE] [--trace NAME]

Prints a table: each configuration of the model must hold in every state that can be reached; each
planted bug must be found; and each witness shows that the configuration really gets to where
everything has happened (a model that does nothing holds, too). docs/protocol/model.md explains.

--more    bigger configurations as well: minutes each
--trace   the steps that lead to what the row of that name found
Exit: 0 all as it must be, 1 not, 77 spin is not installed.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "avocado.pml"

# name: (operations and faults, is it one of the big ones?). MODEL in avocado.pml says what the words mean.
HOLDS = {
    "register": ("p0 p1 g1 +g2", False),
    "register, one writer and two readers": ("p0 +p0 g1 +g2", False),
    "register, deletes": ("d0 p1 g2 first=9", False),
    "offers": ("o0 o1 g2", False),
    "offers, two of one node": ("o0 o0 +g1 g2", False),
    "offers, deletes": ("e0 o1 g2 first=9", False),
    "offers, four at once": ("o0 o1 g1 +g2", True),
    "restart": ("p0 g1 restart", False),
    "offer, restart": ("o0 g1 restart", False),
    "offers, restart": ("o0 o1 +g1 restart", True),
    "restart, a reader moves on": ("p0 g1 +g0 restart", True),
    "rmw": ("s0 s1 rounds=3", False),
    "rmw and a write": ("s0 p1 +g1 rounds=3", False),
    "rmw and an offer": ("s0 o1 +g1 rounds=3", False),
    "rmw, write and readers": ("s0 +g1 p1 g2 rounds=3", True),
    "rmw, compare": ("c0=0 p1 g2", False),
    "rmw, restart": ("s0 +g1 restart", False),
    "collection": ("d0 +p1 g2 collect first=9", False),
    "collection, offers": ("e0 +o1 g2 collect first=9", True),
    "collection, late reader": ("d0 +g1 g2 collect first=9", True),
    "collection and rmw": ("d0 +s1 +g2 collect first=9", False),
    "collection, put if absent twice": ("d0 +c1=0 +c2=0 collect first=9", False),
    "register, four at once": ("p0 p1 g2 g1", True),
    "rmw, accepts arrive late": ("s0 s1 rounds=3 late", True),
    "rmw, three at once": ("s0 s1 s2", True),
    "rmw, restart, reader at once": ("s0 g1 restart", True),
    "rmw, reader": ("s0 s1 g2 rounds=3", True),
    "rmw, compare twice and a write": ("c0=9 c1=9 p0 first=9 rounds=3", True),
    "restart, two writers": ("p0 p1 +g1 restart", True),
    "rmw, restart, two": ("s0 s1 restart", True),
    "restart in the middle of rmw and write": ("s0 p1 restart rounds=3", True),
    "collection that breaks off, rmw": ("d0 +s2 +g1 collect breaks first=9", False),
    "collection that breaks off, put": ("d0 +p1 +g2 collect breaks first=9", False),
    "collection that breaks off, offer": ("e0 +o1 +g2 collect breaks first=9", False),
    "collection that breaks off, put if absent": ("d0 +c1=0 +c2=0 collect breaks first=9", True),
    "collection, restart": ("d0 +s1 collect restart first=9", True),
    "collection and two rmw": ("d0 +s1 +s2 collect first=9", False),
    "collection that breaks off, two rmw": ("d0 +s1 +s2 collect breaks first=9", True),
    "look": ("p0 p1 l0 +g1", False),
    "look after look": ("p0 l0 +l0 p1", False),
    "look, offers": ("o0 o1 l0 +g1", False),
    "look, restart": ("p0 l0 +g0 restart", False),
    "look, offer, restart": ("o0 l0 +g0 restart", False),
    "look and rmw": ("s0 l0 +g1", False),
    "look, collection": ("d0 +p1 l0 collect first=9", False),
    "look, collection and rmw": ("d0 +s1 +l0 collect first=9", False),
    "look, rmw twice": ("s0 s1 l0", True),
    "look, rmw and write": ("s0 l0 +g1 p1 rounds=3", True),
    "look, rmw, restart": ("s0 l0 +g1 restart", True),
    "look, collection and rmw at once": ("d0 l0 +s1 collect first=9", True),
    "look, collection that breaks off, put": ("d0 l0 +p1 collect breaks first=9", True),
    "look, collection that breaks off, rmw": ("d0 +s2 +l0 collect breaks first=9", True),
    "look, collection that breaks off, get": ("d0 l0 +g1 collect breaks first=9", True),
    "look, restart, two writers": ("p0 p1 l0 restart", True),
    "look, restart, put and offer": ("p0 +l0 o1 restart", True),
    "look, collection, restart": ("d0 l0 collect restart first=9", True),
    "look, collection, restart, put": ("d0 +l0 +p1 collect restart first=9", True),
    "look, two lives of a key": ("s1 s0 +d1 +l0 collect rounds=1", True),
    "look, two lives, the later one outbids": ("s0 +d1 +l0 s1 collect rounds=1", True),
}

FINDS = {
    "early-reply": "p0 g1 +g2",
    "no-write-back": "p0 g1 +g2",
    "wrong-agreement": "p0 g0 +g1",
    "shared-tags": "p0 p1",
    "quorum-of-one": "p0 g1 +g2",
    "memoryless-voter": "p0 g1 restart",
    "sync-then-vote": "p0 g1 restart",
    "clone-votes": "p0 g1",
    "early-drop": "d0 +g1 collect first=9",
    "no-barrier": "d0 +g1 g2 +g1 collect first=9",
    "missing-floor": "d0 +p1 +g2 collect first=9",
    "failed-cas-local": "c0=5 p1 g1",
    "helper-loses-id": "s0 s1 rounds=3",
    "accepted-shown": "s0 s1 g0",
    "retry-writes-twice": "p0 g1 +p1 +g2",
    "old-epoch-accepted": "p0 g1 restart",
    "one-donor": "p0 g1 restart",
    "learner-votes": "p0 g1 restart",
    "evaluates-in-doubt": "s0 s1 rounds=3",
    "answer-before-commit": "s0 g1 +g2",
    "rmw-while-dropped": "d0 +s1 +g2 collect first=9",
    "rejoins-round": "d0 +s2 +g1 collect breaks first=9",
    "unsealed-by-drop": "d0 +s2 +g1 collect breaks first=9",
    "offer-unchecked": "o0 o1 g2",
    "offer-twice": "o0 o1 +g1 g2",
    "offers-share-tags": "o0 o0",
    "forgets-who-decides": "s0 +g1 p1 g2 rounds=3",
    "look-one": "p0 l0 +g1",
    "look-epochs": "o0 l0 +g0 restart",
    "look-learner": "o0 l0 restart",
    "look-lives": "s1 s0 +d1 +l0 collect rounds=1",
}

WITNESSES = {
    "register": "p0 p1 g1 +g2",
    "offers": "o0 o1 g2",
    "offer, restart": "o0 g1 restart",
    "restart": "p0 g1 +g0 restart",
    "rmw": "s0 s1 rounds=3",
    "rmw, restart": "s0 +g1 restart",
    "collection": "d0 +s1 +g2 collect first=9",
    "collection that breaks off": "d0 +s2 +g1 collect breaks first=9",
    "look, offer, restart": "o0 l0 +g0 restart",
    "look, two lives of a key": "s1 s0 +d1 +l0 collect rounds=1",
}


def plants():
    """Name of each plant, as its number in the model."""
    found = re.findall(r"^#define ([A-Z_]+) (\d+)\b", SOURCE.read_text().split("/* plant:")[1].split("*/", 1)[1], re.M)
    numbers = {}
    for name, number in found:
        numbers[name.lower().replace("_", "-")] = int(number)
        if name == "EVERYTHING":
            break
    return numbers


def build(work, more):
    """Model to C to a program that searches it. The bigger ones take a third of the memory, and a little more time."""
    shutil.copy(SOURCE, work / SOURCE.name)
    subprocess.run(["spin", "-a", SOURCE.name], cwd=work, check=True)
    cc = (os.environ.get("CC") or "cc").split()[-1]
    subprocess.run([cc, "-O2", "-w", "-DSAFETY", "-DNOBOUNDCHECK", "-DMEMLIM=6000", "-DVECTORSZ=512",
                    *(["-DCOLLAPSE"] if more else []), "-o", "pan", "pan.c"], cwd=work, check=True)
    return work / "pan"


def number(pattern, text):
    m = re.search(pattern, text)
    return int(float(m.group(1))) if m else 0


def search(pan, words, more=()):
    """One search in a folder of its own, for the trail that it may leave."""
    with tempfile.TemporaryDirectory(dir=pan.parent) as folder:
        started = time.monotonic()
        done = subprocess.run([pan, "-E", "-m60000", "-w22"], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, "MODEL": words})
        seconds = time.monotonic() - started
        out = done.stdout + done.stderr
        trail = ""
        if more and "errors: 1" in out:
            shutil.copy(SOURCE, folder)
            # pan looks for the trail under the name of the model
            made = next(Path(folder).glob("*.trail"))
            trail = subprocess.run([pan, "-r", "-v", made.name], cwd=folder, capture_output=True, text=True,
                                   env={**os.environ, "MODEL": words}).stdout
    violated = re.search(r"assertion violated (.*) \(at depth", out)
    return {
        "model": words,
        "states": number(r"([\d.e+]+) states, stored", out),
        "depth": number(r"depth reached (\d+)", out),
        "seconds": round(seconds, 1),
        "found": violated.group(1) if violated else None,
        "complete": "errors: 0" in out and "max search depth too small" not in out and "out of memory" not in out
        and "Search not completed" not in out,
        "out": out, "trail": trail,
    }


def judge(kind, r):
    """(is it as it must be?, what to print)"""
    if kind == "finds":
        what = "history is not linearizable" if r["found"] == "linearizable" else "one tag, two values"
        return (True, "found: " + what) if r["found"] else (False, "NOT FOUND")
    if kind == "witness":
        return (True, "reached") if r["found"] == "0" else (False, "NOT REACHED")
    if r["found"]:
        return False, "FAILS: " + r["found"]
    return (True, "holds") if r["complete"] else (False, "INCOMPLETE")


def rows(options):
    numbers = plants()
    out = [("holds", name, words) for name, (words, big) in HOLDS.items() if options.more or not big]
    out += [("finds", name, f"{words} plant={numbers[name]}") for name, words in FINDS.items()]
    out += [("witness", name, f"{words} plant={numbers['everything']}") for name, words in WITNESSES.items()]
    missing = set(numbers) - set(FINDS) - {"everything"}
    if missing:
        sys.exit(f"check.py: no configuration for {', '.join(sorted(missing))}")
    return [r for r in out if not options.only or options.only in r[1]]


def print_trace(r):
    lines = SOURCE.read_text().splitlines()
    print(f"MODEL=\"{r['model']}\"")
    for m in re.finditer(r"^ *(\d+):\s+proc +(\d+) \((\w+)\) +\S+:(\d+) .*?\[(.*)\]$", r["trail"], re.M):
        step, process, name, line, what = m.groups()
        if name != ":init:" and int(line):
            text = lines[int(line) - 1].strip()
            print(f"{step:>4} {name} {process:<3} line {line:>4}  {text if 'D_STEP' in what else what}"[:150])
    print("\n".join(l for l in r["trail"].splitlines()[-160:] if re.match(r"\s+(byte|bit)\s+(stage|result|before)", l)))


def main():
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    p.add_argument("--more", action="store_true")
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--only", help="rows whose name contains this")
    p.add_argument("--work", type=Path, help="where to build; default: a temporary folder")
    p.add_argument("--json", type=Path)
    p.add_argument("--trace", help="name of a row")
    options = p.parse_args()
    if shutil.which("spin") is None:
        print("spin is not installed: scripts/packages test")
        return 77
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        pan = build(Path(folder), options.more)
        if options.trace:
            options.only = options.trace
            for _, name, words in rows(options):
                if name == options.trace:
                    print_trace(search(pan, words, ("-r",)))
            return 0
        todo = rows(options)
        print(f"{'':8} {'name':38} {'model':34} {'states':>9} {'depth':>6} {'s':>6}  verdict")
        results, failed = [], 0
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for (kind, name, words), r in zip(todo, pool.map(lambda row: search(pan, row[2]), todo)):
                good, verdict = judge(kind, r)
                failed += not good
                print(f"{kind:8} {name:38} {words:34} {r['states']:9} {r['depth']:6} {r['seconds']:6}  {verdict}", flush=True)
                if not good and not r["found"]:
                    print(r["out"][-600:])
                results.append({"kind": kind, "name": name, "verdict": verdict,
                                **{k: r[k] for k in ("model", "states", "depth", "seconds")}})
    print(f"{len(results)} searches, {sum(r['states'] for r in results)} states, {failed} not as they must be")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if failed or not results else 0


sys.exit(main())
