# SPDX-License-Identifier: Apache-2.0
"""Where memory ends: budgets that cannot work, hosts that cannot give what was asked for, keys that
are too long; and memory that goes back to the host. Cause and remedy, never a crash."""

import contextlib
import mmap
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, Cluster, ClusterCase, run, total
from memory_scan import flags, resident

MIB = 1 << 20


def anonymous(pid):
    """Bytes of memory in the anonymous arenas of a process: what asks for huge pages and no reserve."""
    kinds = flags(pid)
    return sum(n for start, n in resident(pid).items() if {"hg", "nr"} <= kinds.get(start, set()))


def blocks(pid):
    """Bytes of host memory that the kernel holds for the arenas of a process that are files."""
    n = 0
    for f in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # connections come and go
            n += os.stat(f).st_blocks * 512 if "avocado-arena" in os.readlink(f) else 0
    return n


def named_is_dropped(shards):
    """True between moves only: the replica's figure is of its last report, its loop's is of now."""
    return total(shards, "arena_dropped") == total(shards, "host_returned")


def huge(smaps, name):
    """Bytes of huge pages in the first mapping of that name."""
    return int(re.search(r"ShmemPmdMapped: +(\d+)", smaps.split(name)[1]).group(1)) << 10


def huge_to_spare(folder):
    """Bytes of huge pages, of 24 MiB asked for, that the kernel has for files there just now."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="control-") as f:
        f.truncate(24 * MIB)
        with mmap.mmap(f.fileno(), 24 * MIB) as m:
            m.madvise(mmap.MADV_HUGEPAGE)
            for at in range(0, 24 * MIB, mmap.PAGESIZE):
                m[at] = 1
            return huge(Path("/proc/self/smaps").read_text(), "control-")


class Starting(Case):
    def refused(self, code, words, *options):
        with tempfile.TemporaryDirectory() as d:
            self.expect(run("avocado", "up", "--dir", f"{d}/c", *options), code, *words)
            self.assertFalse(Path(f"{d}/c/run/node-1.pid").exists())

    def test_memory_that_cannot_be(self):
        self.refused(USAGE, ["--enclave-memory 1M", "from 8388608"], "--enclave-memory", "1M")
        self.refused(USAGE, ["32 GiB at most", "--workers"], "--enclave-memory", "64G")
        self.refused(USAGE, ["--host-memory 64k", "from 8388608"], "--host-memory", "64k")
        self.refused(UNAVAILABLE, ["1048576 bytes of enclave memory", "raise `enclave_memory`"],
                     "--enclave-memory", "8M", "--workers", "8")
        self.refused(UNAVAILABLE, ["/no/such", "No such file", "another folder"],
                     "--arena-dir", "/no/such")
        self.refused(UNAVAILABLE, ["/proc", "another folder"], "--arena-dir", "/proc")

    @unittest.skipUnless(os.geteuid() == 0, "a /dev of its own takes root")
    def test_host_memory_is_not_taken_from_an_enclave(self):
        """Under Gramine, where anonymous memory is the enclave's."""
        gramine = "mount -t tmpfs none /dev && mkdir /dev/attestation && : > /dev/attestation/my_target_info"
        done = subprocess.run(["unshare", "-m", "sh", "-c", f'{gramine} && exec "$@"', "sh", BUILD / "avocadod",
                               "--node", "1", "--cas", "127.0.0.1:1", "--cas-ca", "/none", "--las", "/none"],
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertIn(b"--arena-dir is needed", done.stderr)

    def test_an_arena_that_the_host_cannot_map(self):
        """Address space for it is not to be had."""
        limited = ["prlimit", f"--as={4 << 30}", BUILD / "avocado", "up", "--host-memory", "64G"]
        with tempfile.TemporaryDirectory() as d:
            done = subprocess.run([*limited, "--dir", f"{d}/c"], capture_output=True, timeout=60)
            self.expect(done, UNAVAILABLE, "cannot map 68719476736 bytes of host memory",
                        "Cannot allocate memory", "lower `host_memory`")


class Asking(ClusterCase):
    def test_keys_and_values_over_the_limit(self):
        c = self.cluster
        longest = "k" * 1024
        self.expect(c.avocado("put", longest, "v"), OK)
        for words in (("put", longest + "k", "v"), ("get", longest + "k"), ("del", longest + "k"),
                      ("incr", longest + "k"), ("cas", longest + "k", "a", "b"), ("put", "", "v")):
            self.expect(c.avocado(*words), USAGE, "1 to 1024 bytes")
        self.expect(c.avocado("put", "big", "-", stdin=bytes(MIB)), OK)
        self.expect(c.avocado("put", "big", "-", stdin=bytes(MIB + 1)), USAGE, "--value-max")
        self.assertEqual(len(self.expect(c.avocado("get", "big"), OK).stdout), MIB)

    def test_memory_that_is_not_needed_goes_back_to_the_host(self):
        c = self.cluster
        lines = "".join(f"{i}\t{'x' * (30000 if i % 30 == 0 else 200)}\n" for i in range(20000))
        self.expect(c.avocado("import", "-", stdin=lines.encode()), OK)
        full = {n: anonymous(c.pid(n)) for n in (1, 2, 3)}
        for n in (1, 2, 3):
            self.assertGreater(full[n], 20 * MIB)
            self.assertGreater(total(c.shards(n), "host_resident"), 20 * MIB)
        lines = "".join(f"{i}\tx\n" for i in range(19990) if i % 16 != 15)  # these stay, scattered
        self.expect(c.avocado("import", "-", stdin=lines.encode()), OK)
        for n in (1, 2, 3):
            self.eventually("memory is given back", lambda n=n: anonymous(c.pid(n)) < full[n] // 2)
            shards = c.shards(n)
            self.assertLess(total(shards, "host_resident"), 8 * MIB)
            self.assertGreater(total(shards, "host_returned"), 12 * MIB)
            self.eventually("scattered values come together",
                            lambda n=n: total(c.shards(n), "values_moved") > 500)
            self.eventually("what was named was dropped, and nothing else",
                            lambda n=n: named_is_dropped(c.shards(n)))
        for key, size in ((15, 200), (39, 1), (15 + 16 * 600, 200), (19980 + 15, 200)):
            self.assertEqual(len(self.expect(c.avocado("get", key), OK).stdout), size)
        self.assertEqual(sum(total(c.shards(n), "integrity_failures") for n in (1, 2, 3)), 0)


@unittest.skipUnless(os.geteuid() == 0, "mounting a small file system takes root")
class Running(Case):
    def mount(self, options):
        """A tmpfs with these options; None: the kernel has them not."""
        folder = tempfile.mkdtemp(prefix="avocado-small-")
        self.addCleanup(os.rmdir, folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder]).returncode != 0:
            return None
        self.addCleanup(subprocess.run, ["umount", folder], check=True)
        return folder

    def test_huge_pages_where_the_host_has_them(self):
        folder = self.mount("huge=advise,size=512m")
        if folder is None or huge_to_spare(folder) < 16 * MIB:
            self.skipTest("no huge pages for shared memory")
        lines = "".join(f"{i}\t{'x' * 900000}\n" for i in range(20)).encode()
        with Cluster("--arena-dir", folder, "--host-memory", "64M", nodes=1) as c:
            self.expect(c.avocado("import", "-", stdin=lines), OK)
            got = huge(Path(f"/proc/{c.pid(1)}/smaps").read_text(), "avocado-arena-")
            if got <= 12 * MIB and huge_to_spare(folder) < 16 * MIB:
                self.skipTest("others took the last huge pages meanwhile")
            self.assertGreater(got, 12 * MIB)
            full = blocks(c.pid(1))
            lines = "".join(f"{i}\tx\n" for i in range(20)).encode()
            self.expect(c.avocado("import", "-", stdin=lines), OK)
            self.eventually("they go back", lambda: blocks(c.pid(1)) < full // 2)

    def test_a_host_that_runs_out_of_memory(self):
        """Growth is refused, what was acknowledged is there, and space that comes free is used."""
        value = os.urandom(200000)
        with Cluster("--arena-dir", self.mount("size=12m"), "--host-memory", "64M") as c:
            held = []
            while True:
                done = c.avocado("put", f"k{len(held)}", "-", stdin=value)
                if done.returncode != OK:
                    break
                held.append(f"k{len(held)}")
                self.assertLess(len(held), 200)
            self.eventually("a typed refusal", lambda: b"host memory is used up" in
                            c.avocado("put", "more", "-", stdin=value).stderr)
            self.assertGreater(len(held), 10)
            for k in held:
                self.assertEqual(self.expect(c.avocado("get", k), OK).stdout, value)
            self.assertGreater(sum(total(c.shards(n), "arena_faults") for n in (1, 2, 3)), 0)
            self.eventually("the log says so", lambda: "HOST MEMORY" in "".join(
                p.read_text() for p in c.dir.rglob("*.log")))
            self.assertEqual(c.status()[1]["voting"], 3)
            for k in held:
                self.expect(c.avocado("del", k), OK)
            self.eventually("it grows again", lambda: c.avocado(
                "put", "again", "-", stdin=value).returncode == OK)
            self.assertEqual(self.expect(c.avocado("get", "again"), OK).stdout, value)
