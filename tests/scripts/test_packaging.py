# SPDX-License-Identifier: Apache-2.0
"""The Gramine manifest: it is TOML, and measures every library that the program loads.

usage: test_packaging.py AVOCADOD
"""

import re
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "packaging/gramine/avocadod.manifest.template"
LIBDIR = "/lib/x86_64-linux-gnu"


def manifest():
    """As gramine-manifest would make it, as far as the template uses its language."""
    values = {"build": "/b", "arch_libdir": LIBDIR, "gramine.libos": "/g/libsysdb.so", "gramine.runtimedir()": "/g/runtime"}
    text = re.sub(r"\{\{ *(.*?) *\}\}", lambda m: values[m[1]], TEMPLATE.read_text())
    return tomllib.loads(text)


class Manifest(unittest.TestCase):
    def test_every_library_is_measured(self):
        trusted = {f.removeprefix("file:") for f in manifest()["sgx"]["trusted_files"]}
        out = subprocess.run(["ldd", AVOCADOD], capture_output=True, text=True, check=True).stdout
        wanted = {line.split()[2] for line in out.splitlines() if "=>" in line}
        # Gramine brings a C library of its own.
        wanted = {f"{LIBDIR}/{Path(w).name}" for w in wanted if not re.match(r"lib(c|m|dl|rt|pthread|asan|ubsan)\.", Path(w).name)}
        self.assertTrue(wanted)
        self.assertEqual(wanted - trusted, set(), "the enclave could not load these")
        self.assertEqual({t for t in trusted if t.startswith(LIBDIR)} - wanted, set(), "these are not needed any more")

    def test_what_makes_it_an_enclave_that_a_policy_accepts(self):
        m = manifest()
        self.assertFalse(m["sgx"]["debug"])
        self.assertEqual(m["sgx"]["remote_attestation"], "dcap")
        arena = [f for f in m["fs"]["mounts"] if f.get("type") == "untrusted_shm"]
        self.assertEqual([f["path"] for f in arena], ["/dev/shm/avocado"])
        for f in m["sgx"]["allowed_files"]:
            self.assertTrue(f.startswith("file:/etc/avocado/trust/"), "the host could exchange this")


if __name__ == "__main__":
    AVOCADOD = sys.argv.pop(1)
    unittest.main()
