# SPDX-License-Identifier: Apache-2.0
"""What the checks of the tree share: the list of files, and which room a path lies in."""

import tomllib
from pathlib import Path

SKIP = ("build", ".git", ".cache")


def files(root, *suffixes):
    """Paths below root with one of the suffixes, sorted, without build folders."""
    found = []
    for top in sorted(Path(root).iterdir()):
        if top.name.startswith(SKIP):
            continue
        if top.is_file() and top.suffix in suffixes:
            found.append(top)
        elif top.is_dir():
            found.extend(p for p in top.rglob("*") if p.suffix in suffixes and p.is_file())
    return sorted(found)


def policy(root):
    return tomllib.loads((Path(root) / "scripts/layers.toml").read_text())


def longest(path, names):
    """The longest of `names` that is `path` or a folder above it; None if there is none."""
    fits = [n for n in names if path == n or path.startswith(n + "/")]
    return max(fits, key=len, default=None)


def finish(what, errors):
    """Prints the findings, or that there are none; the exit code of a check."""
    print("\n".join(errors) if errors else f"{what}: ok")
    return 1 if errors else 0
