# SPDX-License-Identifier: Apache-2.0
"""What it takes to join: through the LAS, or with evidence of one's own that the CAS judges."""

import hashlib
import json
import os
import re
import ssl
import statistics
import subprocess
from contextlib import ExitStack

from benchlib import ROOT

from .experiments import Experiment
from .systems import System, free_ports

POLICY = """version: 1
policy: 1
certificate_lifetime: 24h
software_roots: ["{pin}"]
configuration: |
  version: 1
  cluster: "a102030405060708090a0b0c0d0e0f10"
  name: "joining"
  epoch: 1
  replication_factor: 3
  shards: 1
  members:
{members}
roles:
  - role: replica
    las: allowed
    evidence: |
      version: 1
      software:
        mrenclave: [{replica}]
  - role: las
    evidence: |
      version: 1
      software:
        mrenclave: [{las}]
"""


class Services(System):
    """A CAS and an LAS of a policy by which tests/cas/bench_join may join as a replica. Within a call all ask with one key, which
    may ask again, so that one place is enough; each call takes the next place."""
    name = "CAS and LAS"
    package = "openssl"
    programs = ("openssl",)
    places = 4

    def openssl(self, *words):
        return subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True).stdout

    def digest(self, path):
        return hashlib.sha256((self.build / path).read_bytes()).hexdigest()

    def start(self):
        subprocess.run([str(self.build / "avocado"), "attest", "found", str(self.folder / "sw")], check=True,
                       stdout=subprocess.DEVNULL)
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "owner.key")
        self.openssl("ec", "-in", "owner.key", "-pubout", "-out", "owner.pub")
        pem = (self.folder / "sw/root/root_ca.pem").read_text()
        (self.folder / "root.der").write_bytes(ssl.PEM_cert_to_DER_cert(pem))
        (self.folder / "root.pub").write_bytes(self.openssl("x509", "-inform", "DER", "-in", "root.der", "-pubkey", "-noout"))
        pin = hashlib.sha256(self.openssl("pkey", "-pubin", "-in", "root.pub", "-outform", "DER")).hexdigest()
        cas, *ports = free_ports(1 + self.places)
        members = "\n".join(f'    - node: {i}\n      incarnation: {i}\n      address: "127.0.0.1"\n      control_port: {p}\n'
                            f"      data_port: {p}" for i, p in enumerate(ports, 1))
        (self.folder / "policy.yaml").write_text(POLICY.format(
            pin=pin, members=members, replica=self.digest("tests/cas/bench_join"), las=self.digest("avocado-las")))
        self.cas, self.place = f"127.0.0.1:{cas}", 0
        self.spawn(self.build / "avocado-cas", "--listen", self.cas, "--state", "cas.db", "--seal-key", "seal.key",
                   "--evidence", "software:sw/platform", "--found", "--policy", "policy.yaml", "--owner-key", "owner.pub",
                   "--ca-out", "ca.pem")
        self.wait_for((self.folder / "ca.pem").exists, "the founding")
        self.spawn(self.build / "avocado-las", "--socket", "las.sock", "--cas", self.cas, "--cas-ca", "ca.pem",
                   "--evidence", "software:sw/platform", "--name", "las.m1")
        self.wait_for(self.vouches, "a token")

    def join(self, cas, proof, n, at_once=1):
        """n joins: figures of bench_join; RuntimeError when one was refused."""
        self.place += cas != "-"
        done = subprocess.run([str(self.build / "tests/cas/bench_join"), cas, "ca.pem", str(self.place), proof, str(n),
                               str(at_once)], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"joining with {proof}: {done.stderr.decode(errors='replace').strip()}")
        return json.loads(done.stdout)

    def vouches(self):
        try:
            return self.join("-", "las:las.sock", 1)["n"] == 1
        except RuntimeError:
            return False


class Attestation(Experiment):
    name, title = "attestation", "Joining: tokens of the LAS against evidence"
    text = ("A process proves what it is and gets certificate and configuration. Through the LAS it shows a token, which the LAS makes out for "
            "who speaks to it on this machine; directly, it makes evidence that the CAS judges: software evidence here, in the layout of an SGX quote. Hardware's "
            "evidence takes as long as its maker does on top of that, on a first join often a second and more with a vendor's service on the way; "
            "the last rows are what the CAS computes to judge quotes and reports of real machines, collateral included.")
    cases = [("token of the LAS alone", "-", "las:las.sock", 20, 1), ("join with a token", "CAS", "las:las.sock", 1, 1),
             ("join with evidence", "CAS", "software:sw/platform", 1, 1), ("32 join at once with tokens", "CAS", "las:las.sock", 2, 32),
             ("32 join at once with evidence", "CAS", "software:sw/platform", 2, 32)]

    def runs(self, c):
        return len(self.cases) * c.repetitions + 1

    def measure(self, c):
        out = {"joins": {}, "verdicts": {}}
        for _ in range(c.repetitions):
            with ExitStack() as stack:
                s = c.up(stack, Services)
                for name, cas, proof, times, at_once in self.cases:
                    c.progress.step(f"{self.title}: {name}")
                    out["joins"].setdefault(name, []).append(
                        s.join(s.cas if cas == "CAS" else cas, proof, times * (50 if c.quick else 200), at_once))
        c.progress.step(f"{self.title}: verdicts")
        done = subprocess.run([str(c.build / "tests/evidence/bench_attest"), "20"], stdout=subprocess.PIPE, text=True, check=True,
                              env={**os.environ, "ATTEST_DATA": str(ROOT / "tests/attest/data")})
        for kind, p50, rest in re.findall(r"^(\w+)/\S+ +[\d.]+ +([\d.]+) +[\d.]+(.*)$", done.stdout, re.M):
            if "not verify" not in rest:
                out["verdicts"].setdefault(kind, []).append(float(p50))
        return out

    def show(self, data):
        rows = ["<table><tr><th>ms<th>p50<th>p99<th>a second</tr>"]
        for name, runs in data["joins"].items():
            cells = [statistics.median(r[k] for r in runs) for k in ("p50_ms", "p99_ms", "per_s")]
            rows.append(f"<tr><th>{name}<td>{cells[0]:.2f}<td>{cells[1]:.1f}<td>{cells[2]:,.0f}</tr>")
        for kind, values in data["verdicts"].items():
            rows.append(f"<tr><th>verdict on {kind.upper()}, {len(values)} samples<td>{statistics.median(values):.2f}<td><td></tr>")
        return "\n".join(rows) + "</table>"


ALL = [Attestation]
