# SPDX-License-Identifier: Apache-2.0
"""Software mode: enclave memory is hidden from other processes, root included, and from dumps."""

import contextlib
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, Cluster, run
from memory_scan import Scan, dump, flags, mappings, stacks

KEY = "planted-key/" + "7f3a91c0d4e8" * 2
VALUE = b"planted-value/" + b"0b6e55a1c9f2" * 4
PUBLIC = b"--cas-ca"  # a word of its command line, on the stack of its first thread
SMALL = ("--enclave-memory", "24M", "--host-memory", "32M")


def has_memfd_secret():
    """The kernel's word, not that of the program under test."""
    code = ("import ctypes,os; l=ctypes.CDLL(None); fd=l.syscall(447,0);"
            "os.ftruncate(fd,4096) if fd>=0 else exit(1);"
            "import mmap; mmap.mmap(fd,4096); exit(0)")
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def privileged():
    return os.geteuid() == 0


def others_may_run_it():
    """Whether an ordinary user reaches the programs under test."""
    return privileged() and all(p.stat().st_mode & 1 for p in [BUILD, *BUILD.parents])


def may_lock(n):
    """Whether an ordinary user started from here may lock so many bytes."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return hard == resource.RLIM_INFINITY or hard >= n


class Planted(Case):
    """A cluster with one key; the value is put and read, so that it went every way there is."""

    def plant(self, c):
        self.expect(c.avocado("put", KEY, VALUE), OK)
        for _ in range(3):
            self.assertEqual(self.expect(c.avocado("get", KEY), OK).stdout, VALUE)

    def memory(self, c):
        return {n["report"]["memory"] for n in c.status()[1]["nodes"]}

    def needles(self):
        return {"key": KEY.encode(), "value": VALUE, "public": PUBLIC}

    def hidden(self, pid, by_syscall=False):
        s = Scan(pid, self.needles(), by_syscall)
        self.assertNotEqual(s.found["public"], [], "the scan finds nothing at all")
        self.assertEqual(s.found["key"], [])
        self.assertEqual(s.found["value"], [])
        self.assertGreater(s.refused, 16 << 20, "enclave memory was not looked at")
        self.assertGreater(s.read, 1 << 20)
        files = [f for f in Path(f"/proc/{pid}/map_files").iterdir()
                 if "secretmem" in os.readlink(f)]
        self.assertNotEqual(files, [])
        for f in [*files, *Path(f"/proc/{pid}/fd").iterdir()]:
            if "secretmem" in os.readlink(f):
                with self.assertRaises(OSError, msg=f"root maps {f}"):
                    os.close(os.open(f, os.O_RDWR))


@unittest.skipUnless(privileged(), "looking into another process takes root")
@unittest.skipUnless(has_memfd_secret(), "this kernel has no memfd_secret")
class Secret(Planted):
    def test_root_finds_no_secret_through_proc(self):
        with Cluster(*SMALL) as c:
            self.plant(c)
            self.assertEqual(self.memory(c), {"secret"})
            for node in (1, 2, 3):
                self.hidden(c.pid(node))
            self.hidden(c.pid(1), by_syscall=True)
            spilled = [n["report"]["memory_spilled"] for n in c.status()[1]["nodes"]]
            self.assertEqual(spilled, [0, 0, 0])

    def test_heap_and_stacks_are_locked_and_stay_out_of_dumps_and_children(self):
        with Cluster(*SMALL, "--workers", "2") as c:
            pid = c.pid(1)
            secret = [(a, b) for a, b, _, name in mappings(pid) if "secretmem" in name]
            # A heap of 12 MiB for each shard, and OpenSSL's 64 MiB.
            sizes = sorted(b - a for a, b in secret)
            self.assertEqual([n >> 20 for n in sizes if n >= 4 << 20], [12, 12, 64])
            kinds = flags(pid)
            for a, _ in secret:
                self.assertLessEqual({"lo", "dd", "dc"}, kinds[a], "locked, no dump, no fork")
            # Every thread but the first, which runs the control machine, stands on such memory.
            seen = {}

            def all_seen():
                seen.update(stacks(pid))
                return len(seen) >= 3

            self.eventually("each thread waits once", all_seen)
            for thread, at in seen.items():
                inside = any(a <= at < b for a, b in secret)
                self.assertEqual(inside, thread != pid, f"thread {thread} stands at {at:#x}")

    @unittest.skipUnless(shutil.which("gcore"), "forcing a core dump takes gdb")
    def test_a_forced_core_dump_has_no_secret(self):
        with Cluster(*SMALL) as c:
            self.plant(c)
            self.assertEqual(dump(c.pid(1), self.needles()), {"public"})

    def test_memory_that_must_hide_or_not_be(self):
        with Cluster(*SMALL, "--memory", "secret") as c:
            self.plant(c)
            self.assertEqual(self.memory(c), {"secret"})

    def test_the_private_key_was_wiped(self):
        """How every P-256 key begins in a file, PEM and DER: no copy of it is left, whatever the
        memory."""
        needles = {"public": PUBLIC, "pem": b"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
                   "der": bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107"
                                        "046d306b0201010420")}
        with Cluster(*SMALL, "--memory", "huge") as c:
            s = Scan(c.pid(3), needles)
            self.assertNotEqual(s.found["public"], [])
            self.assertEqual((s.found["pem"], s.found["der"]), ([], []))


@unittest.skipUnless(privileged(), "looking into another process takes root")
class Ordinary(Planted):
    """The control: the same look finds the same key where memory is ordinary."""

    def test_the_scan_finds_the_key_in_ordinary_memory(self):
        with Cluster(*SMALL, "--memory", "huge") as c:
            self.plant(c)
            self.assertEqual(self.memory(c), {"locked"})
            kinds = flags(c.pid(2))
            self.assertTrue(any({"lo", "dd", "dc"} <= kinds[a] for a, b, _, name in mappings(c.pid(2))
                                if not name and b - a >= 16 << 20), "the heap is not locked")
            self.assertNotEqual(Scan(c.pid(2), self.needles()).found["key"], [])
            self.assertNotEqual(Scan(c.pid(2), self.needles(), True).found["key"], [])
            if shutil.which("gcore"):
                self.assertIn("key", dump(c.pid(2), self.needles()))

    @unittest.skipUnless(others_may_run_it(), "running as another user takes an open folder")
    @unittest.skipIf(may_lock(64 << 20), "here the right is everybody's")
    def test_without_the_right_to_lock_it_says_plain_and_why(self):
        with Cluster(*SMALL, user="nobody") as c:
            self.plant(c)
            self.assertEqual(self.memory(c), {"plain"})
            (log,) = [p.read_text() for p in c.dir.rglob("*1.log")]
            self.assertRegex(log, "warning enclave memory: plain.*LimitMEMLOCK")


class Dumps(Planted):
    """Whatever the kernel offers: a process that dies leaves no core."""

    def test_a_crash_leaves_no_core(self):
        for sig in (signal.SIGSEGV, signal.SIGABRT):
            with Cluster(*SMALL) as c:
                self.plant(c)
                pid = c.pid(1)
                if privileged():  # it forbade itself; root asks for one all the same
                    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                    with contextlib.suppress(PermissionError):
                        resource.prlimit(pid, resource.RLIMIT_CORE, unlimited)
                before = set(Path("/").glob("core*")) | set(Path.cwd().glob("core*"))
                handle = os.pidfd_open(pid)
                os.kill(pid, sig)
                self.ends(handle)
                os.close(handle)
                after = set(Path("/").glob("core*")) | set(Path.cwd().glob("core*"))
                self.assertEqual(after - before, set())
                self.assertEqual(c.avocado("get", KEY).stdout, VALUE)

    def test_stopping_is_in_order(self):
        with Cluster(*SMALL) as c:
            self.plant(c)
            self.expect(c.down(), OK)


@unittest.skipUnless(others_may_run_it(), "running as another user takes root and an open folder")
@unittest.skipUnless(has_memfd_secret(), "this kernel has no memfd_secret")
class NotRoot(Planted):
    @unittest.skipUnless(shutil.which("setpriv"), "keeping a capability takes setpriv")
    def test_an_ordinary_user_with_the_right_to_lock_hides_it_too(self):
        with Cluster(*SMALL, user="nobody", keep="ipc_lock") as c:
            self.plant(c)
            self.assertEqual(self.memory(c), {"secret"})
            self.hidden(c.pid(1))
            nobody = pwd.getpwnam("nobody")
            look = subprocess.run(["cat", f"/proc/{c.pid(1)}/mem"], capture_output=True,
                                  user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
            self.assertIn(b"Permission denied", look.stderr)

    @unittest.skipIf(may_lock(64 << 20), "whoever may lock enough is not refused")
    def test_must_hide_is_refused_where_it_cannot_be(self):
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o777)
            nobody = pwd.getpwnam("nobody")
            done = subprocess.run(
                [BUILD / "avocado", "up", "--dir", f"{d}/c", "--memory", "secret", *SMALL],
                user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], capture_output=True,
                timeout=60)
            self.assertEqual(done.returncode, UNAVAILABLE, done.stderr)

    def test_usage(self):
        with tempfile.TemporaryDirectory() as d:
            self.expect(run("avocado", "up", "--dir", f"{d}/c", "--memory", "soft"), USAGE)
