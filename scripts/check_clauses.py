#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clauses such as RPC-8: what the code cites the protocol documents define, and the reverse.

A clause is defined where a line of docs/protocol/*.md starts with its id (after list, heading,
table or emphasis marks). usage: check_clauses.py ROOT
"""

import re
import sys
from pathlib import Path

import tree

ID = re.compile(r"\b([A-Z]{1,8})-(\d{1,3})\b")
DEFINED = re.compile(r"^[\s>#*|_`-]*([A-Z]{2,8})-(\d{1,3})\b")
RANGE = re.compile(r"\b([A-Z]{2,8})-(\d{1,3})(?:\.\.| to | through |–)(?:\1-)?(\d{1,3})\b")


def defined_in(root, errors):
    found = {}
    for doc in sorted((root / "docs/protocol").glob("*.md")):
        path = doc.relative_to(root).as_posix()
        for n, line in enumerate(doc.read_text().splitlines(), 1):
            if not (m := DEFINED.match(line)):
                continue
            clause = f"{m.group(1)}-{m.group(2)}"
            if clause in found:
                errors.append(f"{path}:{n}: {clause} is defined again ({found[clause]})")
            found.setdefault(clause, f"{path}:{n}")
    return found


def cited_in(line):
    for m in RANGE.finditer(line):
        for i in range(int(m.group(2)), int(m.group(3)) + 1):
            yield m.group(1), i
    for m in ID.finditer(line):
        yield m.group(1), int(m.group(2))


def main():
    root = Path(sys.argv[1])
    foreign = tree.policy(root)["clauses"]["foreign"]
    errors = []
    found = defined_in(root, errors)
    cited = set()
    for file in tree.files(root, ".c", ".h", ".py", ".sh"):
        path = file.relative_to(root).as_posix()
        if path.startswith("scripts/check_"):
            continue
        for n, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            for prefix, number in cited_in(line):
                clause = f"{prefix}-{number}"
                if clause in found:
                    cited.add(clause)
                elif prefix not in foreign:
                    errors.append(f"{path}:{n}: {clause} is defined in no document of docs/protocol")
    for clause in sorted(set(found) - cited):
        errors.append(f"{found[clause]}: {clause} is cited by no source and no test")
    return tree.finish(f"{len(found)} clauses", errors)


if __name__ == "__main__":
    sys.exit(main())
