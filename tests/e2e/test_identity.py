# SPDX-License-Identifier: Apache-2.0
"""Client identities and files that are wrong, and what the client says about them."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster import OK, REFUSED, USAGE, ClusterCase, run


class Identity(ClusterCase):
    def setUp(self):
        self.work = Path(tempfile.mkdtemp(prefix="avocado-e2e-"))
        for name in ("client.yaml", "client.crt", "client.key"):
            shutil.copy(self.cluster.dir / name, self.work / name)
        (self.work / "ca").mkdir()
        shutil.copy(self.cluster.dir / "ca/ca.crt", self.work / "ca/ca.crt")
        os.chmod(self.work / "client.key", 0o600)

    def tearDown(self):
        shutil.rmtree(self.work)

    def get(self):
        return run("avocado", "--cluster", self.work / "client.yaml", "--timeout", "3", "put",
                   "identity", "v")

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def issue(self, ca_crt, ca_key, *dates):
        cluster = (self.work / "client.yaml").read_text().split('"')[1]
        (self.work / "x.cnf").write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
            f"subjectAltName=URI:avocado:{cluster}:client:x\n")
        self.openssl("req", "-new", "-key", self.work / "client.key", "-subj", "/CN=x", "-out",
                     self.work / "x.csr")
        self.openssl("x509", "-req", "-in", self.work / "x.csr", "-CA", ca_crt, "-CAkey", ca_key,
                     "-extfile", self.work / "x.cnf", "-out", self.work / "client.crt", *dates)

    def test_copy_works(self):
        self.expect(self.get(), OK)

    def test_key_that_others_may_read(self):
        os.chmod(self.work / "client.key", 0o644)
        done = self.get()
        self.assertIn(done.returncode, (USAGE, REFUSED), done.stderr)
        self.assertIn(b"client.key", done.stderr)

    def test_key_of_another_certificate(self):
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                     self.work / "client.key")
        os.chmod(self.work / "client.key", 0o600)
        done = self.get()
        self.assertIn(done.returncode, (USAGE, REFUSED), done.stderr)

    def test_certificate_of_another_ca(self):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-subj", "/CN=avocado cluster CA", "-days", "2", "-keyout",
                     self.work / "other.key", "-out", self.work / "other.crt")
        self.issue(self.work / "other.crt", self.work / "other.key", "-days", "2")
        self.expect(self.get(), REFUSED)

    def test_missing_and_unknown(self):
        text = (self.work / "client.yaml").read_text()
        (self.work / "client.yaml").write_text(text + "colour: green\n")
        self.expect(self.get(), USAGE, "colour")
        (self.work / "client.yaml").write_text(text.replace("client.key", "no.key"))
        self.expect(self.get(), USAGE, "no.key")
        (self.work / "client.yaml").unlink()
        self.expect(self.get(), USAGE, "client.yaml")
