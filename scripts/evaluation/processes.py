# SPDX-License-Identifier: Apache-2.0
"""What the kernel knows of processes."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def descendants(pid):
    """Children, their children, and so on, that run now."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = [int(c) for c in (task / "children").read_text().split()]
        except OSError:  # it ended
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def cpu_s(pid):
    """Seconds of processor time so far, in steps of 10 ms; 0 when the process has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK
