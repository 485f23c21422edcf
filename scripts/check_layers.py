#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Includes between rooms, system headers, banned words, file shape. Policy: scripts/layers.toml.

usage: check_layers.py ROOT
"""

import fnmatch
import graphlib
import re
import sys
from pathlib import Path

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")')
# Comments and literals: what they say is not code.
PROSE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
SPDX = "SPDX-License-Identifier: Apache-2.0"


def without_prose(text):
    """The code alone; newlines stay, so that line numbers stay true."""
    return PROSE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


class Layers:
    def __init__(self, policy):
        self.rooms = policy["rooms"]
        self.system = policy["system"]
        self.limits = policy["limits"]
        self.banned = [
            (b, re.compile(r"(?<![\w.>])(" + "|".join(b["words"]) + r")\s*\("))
            for b in policy["banned"]
        ]

    def cycle(self):
        """A cycle that the policy would allow, or None. Rooms with '*' are tops, not links."""
        graph = {}
        for room, may in self.rooms.items():
            graph[room] = [] if "*" in may else [m for m in may if not m.startswith("!")]
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as e:
            return " -> ".join(e.args[1])
        return None

    def may(self, room, target):
        allowed = self.rooms[room]
        if target == room or target in allowed:
            return True
        out = [a[1:] for a in allowed if a.startswith("!")]
        return "*" in allowed and tree.longest(target, out) is None


def check_include(layers, root, path, match):
    """The reason why this include is refused, or None."""
    system, ours = match.groups()
    room = tree.longest(path, layers.rooms)
    if system is not None:
        scope = tree.longest(path, layers.system)
        if scope is not None and not any(fnmatch.fnmatch(system, s) for s in layers.system[scope]):
            return f"{scope} may not include <{system}>"
        return None
    target = tree.longest(ours, layers.rooms)
    if target is None or not (root / ours).is_file():
        return f'"{ours}" is not a path from the root of the tree'
    if not layers.may(room, target):
        return f"{room} may not include {target} ({ours})"
    return None


def check_words(layers, path, text):
    code = without_prose(text)
    for entry, pattern in layers.banned:
        if tree.longest(path, entry["rooms"]) is None or path in entry.get("except", []):
            continue
        for m in pattern.finditer(code):
            line = code.count("\n", 0, m.start()) + 1
            yield f"{path}:{line}: {m.group(1)}() is banned here"


def check_file(layers, root, file):
    path = file.relative_to(root).as_posix()
    text = file.read_text()
    lines = text.splitlines()
    if tree.longest(path, layers.rooms) is None:
        yield f"{path}:1: lies in no room of scripts/layers.toml"
        return
    if not lines or SPDX not in lines[0]:
        if file.suffix != ".def":
            yield f"{path}:1: the first line is not '// {SPDX}'"
    if len(lines) > layers.limits["file_lines"]:
        yield f"{path}:1: {len(lines)} lines, at most {layers.limits['file_lines']}"
    for n, line in enumerate(lines, 1):
        if len(line) > layers.limits["line_columns"]:
            yield f"{path}:{n}: {len(line)} columns, at most {layers.limits['line_columns']}"
        match = INCLUDE.match(line)
        why = check_include(layers, root, path, match) if match else None
        if why:
            yield f"{path}:{n}: {why}"
    yield from check_words(layers, path, text)


def main():
    root = Path(sys.argv[1])
    layers = Layers(tree.policy(root))
    errors = []
    if cycle := layers.cycle():
        errors.append(f"scripts/layers.toml: the policy allows a cycle: {cycle}")
    for file in tree.files(root, ".c", ".h", ".def"):
        errors.extend(check_file(layers, root, file))
    return tree.finish("layers", errors)


if __name__ == "__main__":
    sys.exit(main())
