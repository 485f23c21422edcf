# SPDX-License-Identifier: Apache-2.0
"""Real clusters for the end-to-end tests: a folder of their own, free ports, loopback only."""

import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

BUILD = Path(os.environ.get("AVOCADO_BUILD", "build")).resolve()
ROOT = Path(__file__).resolve().parents[2]

OK, NOT_FOUND, USAGE, UNAVAILABLE, INDETERMINATE, REFUSED, INTEGRITY = range(7)

# Nothing may take longer, whatever is broken: every command has a deadline of its own.
HANG_S = 60


def run(*args, stdin=b"", env=None, timeout=HANG_S, user=None, keep=None, programs=BUILD):
    """A program of the build folder, or of another; output as bytes. Root can run it as another
    user, who keeps one capability if need be."""
    words = [str(programs / args[0]), *[a if isinstance(a, bytes) else str(a) for a in args[1:]]]
    environment = {k: v for k, v in os.environ.items() if k != "AVOCADO_CLUSTER"}
    environment.update(env or {})
    other = {}
    if user is not None and keep is not None:
        words = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}",
                 "--clear-groups", f"--inh-caps=+{keep}", f"--ambient-caps=+{keep}", *words]
    elif user is not None:
        who = pwd.getpwnam(user)
        other = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    return subprocess.run(
        words, input=stdin, capture_output=True, timeout=timeout, env=environment, **other
    )


def hostile(*args):
    """scripts/hostile.py, which plays network and host; what it did."""
    done = subprocess.run([sys.executable, ROOT / "scripts/hostile.py", *map(str, args)],
                          capture_output=True, timeout=HANG_S, check=True)
    return json.loads(done.stdout)


def total(report, name):
    """The sum of a counter over everything in a report."""
    if isinstance(report, list):
        return sum(total(r, name) for r in report)
    if isinstance(report, dict):
        return sum(v if k == name and isinstance(v, int) else total(v, name)
                   for k, v in report.items())
    return 0


class Cluster:
    """`avocado up` in a folder that goes away again."""

    def __init__(self, *options, nodes=3, user=None, keep=None, programs=BUILD, env=None,
                 restart=False):
        self.base = Path(tempfile.mkdtemp(prefix="avocado-e2e-"))
        self.user, self.keep, self.programs, self.env = user, keep, programs, env
        if user is not None:
            shutil.chown(self.base, user)
        self.dir = self.base / "d"
        self.options = ["--nodes", nodes, "--restart", "yes" if restart else "no", *options]
        self.stopped = []

    def __enter__(self):
        done = self.up()
        if done.returncode != OK:
            self.close()
            raise AssertionError(f"avocado up failed: {done.stderr.decode()}")
        return self

    def __exit__(self, failed, *_):
        if failed is not None:
            self.tell()
        self.close()

    def tell(self):
        """After a failure: what the members and every process said last; the folder goes away."""
        if self.dir.exists():
            print(f"\n{self.member('list').stdout.decode(errors='replace')}")
            for log in sorted(self.dir.rglob("*.log")):
                lines = log.read_text(errors="replace").splitlines()[-12:]
                print(f"== {log.relative_to(self.dir)}", *lines, sep="\n")

    def up(self, *more):
        return run("avocado", "up", "--dir", self.dir, *self.options, *more, user=self.user,
                   keep=self.keep, programs=self.programs, env=self.env)

    def down(self):
        return run("avocado", "down", "--dir", self.dir, user=self.user)

    def close(self):
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.dir.exists():
            self.down()
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def yaml(self):
        return self.dir / "client.yaml"

    def member(self, *args):
        return run("avocado", "member", "--dir", self.dir, *args, timeout=120)

    def members(self):
        """What the supervisor says; None while it does not answer."""
        done = self.member("list", "--json")
        return json.loads(done.stdout) if done.returncode == OK else None

    def whole(self):
        """True once every wanted voter votes."""
        m = self.members()
        return m is not None and m["health"] == "whole"

    def supervisor_pid(self):
        return int((self.dir / "run/supervisor.pid").read_text().split()[0])

    def avocado(self, *args, **kw):
        return run("avocado", "--cluster", self.yaml, *args, user=self.user, **kw)

    def start(self, *args, stdin=b""):
        """The same in the background; its standard input is written at once."""
        source = tempfile.TemporaryFile()
        source.write(stdin)
        source.seek(0)
        words = [str(BUILD / "avocado"), "--cluster", str(self.yaml), *map(str, args)]
        with source:
            return subprocess.Popen(words, stdin=source, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)

    def status(self, *options):
        done = run("avocado", *options, "status", "--dir", self.dir, "--json", user=self.user)
        return done.returncode, json.loads(done.stdout)

    def shards(self, node):
        """The counters of every shard of a node."""
        for row in self.status()[1]["nodes"]:
            if row["node"] == node:
                return row["report"]["shards"]
        raise AssertionError(f"no node {node}")

    def pid(self, node):
        return int((self.dir / f"run/node-{node}.pid").read_text().split()[0])

    def kill(self, node):
        """SIGKILL, and waits until the process is gone."""
        self.kill_pid(self.pid(node))

    def daemon(self, node, *options):
        """The words of an avocadod that joins this cluster, started by hand."""
        return [str(BUILD / "avocadod"), "--cas", (self.dir / "cas/address").read_text().strip(),
                "--cas-ca", str(self.dir / "ca/ca.crt"), "--node", str(node), "--las",
                str(self.dir / "run/las.sock"), *options]

    def service_pid(self, name):
        """Of "cas" or "las"."""
        return int((self.dir / f"run/{name}.pid").read_text().split()[0])

    def kill_pid(self, pid):
        """SIGKILL, and waits until the process is gone."""
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([handle], [], [], HANG_S)
        os.close(handle)

    def pause(self, node):
        self.stopped.append(self.pid(node))
        os.kill(self.pid(node), signal.SIGSTOP)

    def resume(self, node):
        os.kill(self.pid(node), signal.SIGCONT)

    def address(self, node):
        """(host, UDP port of its first shard)."""
        for row in self.status()[1]["nodes"]:
            if row["node"] == node:
                host, port = row["address"].rsplit(":", 1)
                return host, int(port)
        raise AssertionError(f"no node {node}")


class Case(unittest.TestCase):
    """Asserts on exit codes say what the program said."""

    def expect(self, done, code, *words):
        said = (done.stdout[-600:] + done.stderr[-600:]).decode(errors="replace")
        self.assertEqual(done.returncode, code, said)
        whole = (done.stdout + done.stderr).decode(errors="replace")
        for word in words:
            self.assertTrue(word in whole, f"{word!r} not found in: {said}")
        if code != OK:
            lines = done.stderr.decode(errors="replace").splitlines()
            if not done.stdout.startswith(b"{"):
                self.assertEqual(len(lines), 1, f"an error is one line, not: {said}")
        return done

    def eventually(self, what, check, seconds=20):
        """Polls until check() is true; a bound on progress, not a measurement."""
        until = time.monotonic() + seconds
        while not check():
            if time.monotonic() > until:
                self.fail(f"not within {seconds} s: {what}")
            time.sleep(0.05)

    def ends(self, process, seconds=20):
        """Waits for the end of a process; `process` is its pidfd, opened while it certainly ran."""
        self.assertTrue(select.select([process], [], [], seconds)[0], f"it did not end in {seconds} s")


class ClusterCase(Case):
    """One cluster for all tests of a class; they use keys of their own."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(*cls.options)
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()
