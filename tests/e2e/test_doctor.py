# SPDX-License-Identifier: Apache-2.0
"""avocado doctor on this machine, and avocado measure."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from cluster import BUILD, OK, UNAVAILABLE, USAGE, Case, run

MODES = ("software", "sgx", "snp", "tdx")


class Doctor(Case):
    def doctor(self, *args):
        done = run("avocado", "doctor", "--json", *args)
        return done.returncode, json.loads(done.stdout)

    def test_says_what_the_machine_says(self):
        code, said = self.doctor()
        self.assertEqual((code, said["status"]), (OK, "OK"))
        self.assertEqual(said["kernel"], f"Linux {os.uname().release}")
        self.assertEqual([m["mode"] for m in said["modes"]], list(MODES))
        self.assertEqual([m["protected"] for m in said["modes"]], [False, True, True, True])
        checks = {c["name"]: c for c in said["checks"]}
        self.assertEqual(len(checks), len(said["checks"]), "two rows have one name")
        for c in said["checks"]:
            self.assertEqual("remedy" in c, c["state"] != "ok", c)
        flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "").split()
        self.assertEqual(said["virtual"], "hypervisor" in flags)
        self.assertEqual(checks["sgx-cpu"]["state"] == "ok", "sgx" in flags)
        self.assertEqual(checks["configfs-tsm"]["state"] != "missing",
                         Path("/sys/kernel/config/tsm/report").is_dir())

    def test_for_a_mode(self):
        ready = {m["mode"]: m["ready"] for m in self.doctor()[1]["modes"]}
        for mode in MODES:
            code, said = self.doctor("--for", mode)
            self.assertEqual(code, OK if ready[mode] else UNAVAILABLE, mode)
            row = next(m for m in said["modes"] if m["mode"] == mode)
            self.assertEqual(row["missing"] == [], ready[mode])
            if not ready[mode]:
                self.expect(run("avocado", "doctor", "--for", mode), UNAVAILABLE,
                            f"{mode} is not ready on this machine: {row['missing'][0]}")
        self.expect(run("avocado", "doctor", "--for", "sev"), USAGE, "found 'sev'")

    def test_a_text_for_people(self):
        done = self.expect(run("avocado", "doctor"), OK, "udp-trains")
        text = done.stdout.decode()
        self.assertRegex(text, "software +ready +NOT PROTECTED")
        self.assertEqual(text.splitlines()[0].split(" on ")[0], f"Linux {os.uname().release}")


class Measure(Case):
    def test_programs(self):
        files = [BUILD / "avocadod", BUILD / "avocado"]
        done = run("avocado", "measure", "--json", *files)
        self.expect(done, OK)
        said = json.loads(done.stdout)["files"]
        self.assertEqual([f["sha256"] for f in said],
                         [hashlib.sha256(f.read_bytes()).hexdigest() for f in files])
        self.expect(run("avocado", "measure", BUILD / "avocado"), OK, said[1]["sha256"])

    def test_what_is_none(self):
        self.expect(run("avocado", "measure", BUILD), USAGE, "not a regular file")
        self.expect(run("avocado", "measure", BUILD / "none"), USAGE, "No such file")
        self.expect(run("avocado", "measure"), USAGE)
        with tempfile.NamedTemporaryFile() as f:
            self.expect(run("avocado", "measure", f.name), USAGE, "empty")
            # Half a SIGSTRUCT must not pass for a program.
            f.write(bytes.fromhex("06000000e10000000000010000000000") + bytes(900))
            f.flush()
            self.expect(run("avocado", "measure", f.name), USAGE, "no SIGSTRUCT")
