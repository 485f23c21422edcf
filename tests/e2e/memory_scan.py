# SPDX-License-Identifier: Apache-2.0
"""Looks through the memory of another process as its host can: /proc/PID/mem, process_vm_readv and
core dumps."""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

CHUNK, PAGE = 1 << 20, 4096


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.process_vm_readv.restype = ctypes.c_ssize_t


def mappings(pid):
    """(start, end, permissions, name) of every mapping."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        start, end = (int(x, 16) for x in words[0].split("-"))
        found.append((start, end, words[1], words[5] if len(words) > 5 else ""))
    return found


def resident(pid):
    """Bytes in core of each mapping, by its start: what was never touched need not be read."""
    found, start = {}, 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            start = int(first.split("-")[0], 16)
        elif first == "Rss:":
            found[start] = int(rest[0]) * 1024
    return found


def flags(pid):
    """The kernel's flags (proc(5): VmFlags) of each mapping, by its start."""
    found, start = {}, 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            start = int(first.split("-")[0], 16)
        elif first == "VmFlags:":
            found[start] = set(rest)
    return found


def stacks(pid):
    """Where the stack of each waiting thread stands, by thread; it takes root."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            words = (task / "syscall").read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # it ended
            continue
        if len(words) > 2:  # not running
            found[int(task.name)] = int(words[-2], 16)
    return found


class Scan:
    """Where `needles` (a dict of name to bytes) are found in a process, and what could not be read."""

    def __init__(self, pid, needles, by_syscall=False):
        self.found = {name: [] for name in needles}
        self.read = self.refused = 0
        self.by_syscall = by_syscall
        self.pid = pid
        overlap = max(map(len, needles.values())) - 1
        in_core = resident(pid)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
            self.mem = mem.fileno()
            for start, end, permissions, name in mappings(pid):
                if "r" not in permissions or name in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                    continue
                if in_core.get(start) == 0 and "secretmem" not in name:
                    continue
                self.look(start, end, name, needles, overlap)

    def fetch(self, at, n):
        if not self.by_syscall:
            try:
                return os.pread(self.mem, n, at)
            except OSError:
                return b""
        to = ctypes.create_string_buffer(n)
        local = Iovec(ctypes.cast(to, ctypes.c_void_p), n)
        remote = Iovec(ctypes.c_void_p(at), n)
        got = LIBC.process_vm_readv(self.pid, ctypes.byref(local), ctypes.c_ulong(1),
                                    ctypes.byref(remote), ctypes.c_ulong(1), ctypes.c_ulong(0))
        return to.raw[:max(got, 0)]

    def look(self, start, end, name, needles, overlap):
        tail, at, step = b"", start, CHUNK
        while at < end:
            got = self.fetch(at, min(step, end - at))
            if not got:
                self.refused += min(PAGE, end - at)
                tail, at, step = b"", at + PAGE, PAGE
                continue
            for needle, what in needles.items():
                if what in tail + got:
                    self.found[needle].append(name or hex(start))
            self.read += len(got)
            tail, at = got[-overlap:], at + len(got)


def dump(pid, needles):
    """Which of the needles a forced core dump of the process contains; it takes gdb."""
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["gcore", "-a", "-o", f"{d}/core", str(pid)], capture_output=True,
                       timeout=120, check=True)
        (path,) = Path(d).glob("core*")
        found, tail = set(), b""
        overlap = max(map(len, needles.values())) - 1
        with path.open("rb") as f:
            while block := f.read(CHUNK):
                found |= {n for n, what in needles.items() if what in tail + block}
                tail = block[-overlap:]
        return found
