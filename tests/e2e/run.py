#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the end-to-end tests, one after the other, and leaves a line of JSON for each.

usage: run.py [--build DIR] [--results FILE] [PATTERN...]

A PATTERN is a part of a test's name; without one all tests run.
"""

import argparse
import json
import os
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Result(unittest.TestResult):
    """Prints one line per test and collects what `--results` wants."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        print(f"{test.id()} ...", end=" ", flush=True)

    def note(self, test, result, detail=""):
        print(f"{result} {time.monotonic() - self.began:.1f} s", flush=True)
        if detail:
            print(detail, flush=True)
        self.lines.append({"name": test.id(), "result": result})

    def addSuccess(self, test):
        self.note(test, "OK")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "SKIP", reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "FAIL", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        if not hasattr(test, "_testMethodName"):
            self.began = time.monotonic()
        self.note(test, "ERROR", self._exc_info_to_string(err, test))


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main():
    p = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build")
    p.add_argument("--results")
    p.add_argument("patterns", nargs="*")
    args = p.parse_args()

    os.environ["AVOCADO_BUILD"] = str(Path(args.build).resolve())
    sys.path.insert(0, str(HERE))
    found = flatten(unittest.defaultTestLoader.discover(str(HERE), pattern="test_*.py"))
    suite = unittest.TestSuite(
        t for t in found if not args.patterns or any(p in t.id() for p in args.patterns)
    )
    result = Result()
    suite.run(result)
    if args.results:
        with open(args.results, "w") as f:
            f.writelines(json.dumps(line) + "\n" for line in result.lines)
    bad = sum(line["result"] in ("FAIL", "ERROR") for line in result.lines)
    print(f"{len(result.lines) - bad} of {len(result.lines)} fine")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
