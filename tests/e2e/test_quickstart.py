# SPDX-License-Identifier: Apache-2.0
"""The first thing that a newcomer runs does what it says."""

import subprocess
import tempfile

from cluster import BUILD, ROOT, Case


class Quickstart(Case):
    def test_once(self):
        with tempfile.TemporaryDirectory() as d:
            done = subprocess.run(
                [ROOT / "scripts/quickstart", "--once", "--dir", f"{d}/cluster"],
                capture_output=True, timeout=300, cwd=ROOT)
            said = done.stdout.decode() + done.stderr.decode()
            self.assertEqual(done.returncode, 0, said)
            for word in ("SOFTWARE, NOT PROTECTED", "0 missing, 0 different", "refused"):
                self.assertIn(word, said)
        self.assertTrue((BUILD / "avocado").exists())
