# SPDX-License-Identifier: Apache-2.0
"""Deployments piece by piece: software root, CAS, LAS and replicas that join with nothing but the CAS's address and CA,
in a folder of their own. cluster.py has the ones that `avocado up` starts."""

import base64
import hashlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from cluster import BUILD, OK, Case, run

BY_EVIDENCE = ("--evidence", "software:sw/platform")  # in the place of the LAS's word

POLICY = """version: 1
policy: 1
certificate_lifetime: {lifetime}
software_roots: ["{pin}"]
configuration: |
  version: 1
  cluster: "a102030405060708090a0b0c0d0e0f10"
  name: "attested"
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


def digest(path):
    """What `avocado measure` says, as an operator would ask."""
    done = run("avocado", "measure", "--json", path)
    return json.loads(done.stdout)["files"][0]["sha256"]


def free_ports(n):
    """Ports of both kinds that nobody has now."""
    found = []
    while len(found) < n:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in found:
                found.append(port)
    return found


class World:
    """A deployment in a folder of its own: software root, CAS, LAS, replicas."""

    def __init__(self, lifetime="24h"):
        self.lifetime = lifetime
        self.dir = Path(tempfile.mkdtemp(prefix="avocado-cas-"))
        self.ports = free_ports(4)
        self.running = {}
        assert run("avocado", "attest", "found", self.dir / "sw").returncode == OK
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "owner.key")
        self.openssl("ec", "-in", "owner.key", "-pubout", "-out", "owner.pub")
        self.write_policy(digest(BUILD / "avocadod"))

    def openssl(self, *args):
        return subprocess.run(["openssl", *map(str, args)], cwd=self.dir, check=True,
                              capture_output=True).stdout

    def write_policy(self, replica):
        pem = ssl.PEM_cert_to_DER_cert((self.dir / "sw/root/root_ca.pem").read_text())
        (self.dir / "root.der").write_bytes(pem)
        key = self.openssl("x509", "-inform", "DER", "-in", "root.der", "-pubkey", "-noout")
        (self.dir / "root.pub").write_bytes(key)
        spki = self.openssl("pkey", "-pubin", "-in", "root.pub", "-outform", "DER")
        members = "".join(
            f"    - node: {i}\n      incarnation: {i}\n      address: \"{self.address(i)}\"\n"
            f"      control_port: {p}\n      data_port: {p}\n"
            for i, p in enumerate(self.ports[1:], 1))
        (self.dir / "policy.yaml").write_text(POLICY.format(
            lifetime=self.lifetime, pin=hashlib.sha256(spki).hexdigest(), members=members.rstrip("\n"), replica=replica,
            las=digest(BUILD / "avocado-las")))

    def log(self, name):
        return (self.dir / f"{name}.log").read_text()

    def start(self, name, program, *args):
        with open(self.dir / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen([str(BUILD / program), *map(str, args)],
                                                  cwd=self.dir, stdout=log, stderr=log)

    def stop(self, name, how=signal.SIGTERM):
        process = self.running.pop(name)
        process.send_signal(how)
        return process.wait(timeout=30)

    def address(self, node):
        """Of a replica; of the CAS, which is 0."""
        return "127.0.0.1"

    @property
    def cas_address(self):
        return f"{self.address(0)}:{self.ports[0]}"

    def cas_args(self, *more):
        return ["--listen", self.cas_address, "--state", "cas.db", "--seal-key", "seal.key",
                *BY_EVIDENCE, *more]

    def start_cas(self, *more):
        self.start("cas", "avocado-cas", *self.cas_args(*more))

    def found(self):
        self.start_cas("--found", "--policy", "policy.yaml", "--owner-key", "owner.pub", "--ca-out",
                       "ca.pem")

    def start_las(self):
        self.start("las", "avocado-las", "--socket", "las.sock", "--cas", self.cas_address,
                   "--cas-ca", "ca.pem", "--evidence", "software:sw/platform", "--name", "las.m1")

    def replica_args(self, node, *proof):
        return ["--cas", self.cas_address, "--cas-ca", "ca.pem", "--node", node,
                *(proof or ("--las", "las.sock"))]

    def start_replica(self, node, *proof):
        self.start(f"n{node}", "avocadod", *self.replica_args(node, *proof))

    def refused(self, node, *proof, program="avocadod"):
        """A replica that is not let in: it ends by itself."""
        return subprocess.run([str(BUILD / program) if "/" not in program else program,
                               *map(str, self.replica_args(node, *proof))], cwd=self.dir,
                              capture_output=True, timeout=60)

    def ask(self, path, body=None, pair=None):
        """What the CAS answers; a refusal as its error. `pair`: certificate and key to show."""
        context = ssl.create_default_context(cafile=self.dir / "ca.pem")
        context.check_hostname = False
        if pair is not None:
            context.load_cert_chain(*(self.dir / name for name in pair))
        asked = urllib.request.Request(
            f"https://{self.cas_address}{path}",
            data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(asked, context=context, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            return json.load(refusal)

    def owner(self, path, body):
        """The same by the owner, who shows his key in a certificate of his own."""
        if not (self.dir / "owner.crt").exists():
            self.openssl("req", "-x509", "-new", "-key", "owner.key", "-subj", "/CN=owner",
                         "-days", "1", "-out", "owner.crt")
        return self.ask(path, body, ("owner.crt", "owner.key"))

    def new_key(self, name):
        """A key in a file, and its public half as the CAS wants it."""
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                     name)
        (self.dir / name).chmod(0o600)
        return base64.b64encode(self.openssl("pkey", "-in", name, "-pubout", "-outform",
                                             "DER")).decode()

    def client_yaml(self, pair):
        """client.yaml of certificate and key; exchanged as a whole, for readers that do not wait."""
        members = "".join(f"  - node: {i}\n    address: \"{self.address(i)}\"\n    control_port: {p}\n"
                          for i, p in enumerate(self.ports[1:], 1))
        path = self.dir / "client.yaml"
        new = self.dir / "client.yaml.new"
        new.write_text('cluster: "a102030405060708090a0b0c0d0e0f10"\nname: "attested"\n'
                       f"ca_file: ca.pem\ncert_file: {pair[0]}\nkey_file: {pair[1]}\n"
                       f"members:\n{members}")
        new.rename(path)
        return path

    def new_client(self, name):
        """The client.yaml of one whom the owner lets in under that name."""
        pair = (f"{name}.crt", f"{name}.key")
        given = self.owner("/v1/client", {"name": name, "key": self.new_key(pair[1])})
        (self.dir / pair[0]).write_text(given["certificate"])
        return self.client_yaml(pair).rename(self.dir / f"{name}.yaml")

    def write_whole(self, name, text):
        """A file in the place of another, for readers that do not wait."""
        new = self.dir / f"{name}.new"
        new.write_text(text)
        new.rename(self.dir / name)

    def close(self):
        for name in list(self.running):
            self.stop(name, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


class WorldCase(Case):
    lifetime = "24h"

    def setUp(self):
        self.world = World(self.lifetime)
        self.addCleanup(self.world.close)

    def says(self, name, *words):
        self.eventually(f"{name} says {words}",
                        lambda: all(w in self.world.log(name) for w in words))

    def founded(self):
        self.world.found()
        self.says("cas", "serving at")

    def serving(self, *proof):
        """Founded, and three replicas serve: on the word of a LAS if there is no other proof."""
        self.founded()
        if not proof:
            self.attested_las()
        for node in (1, 2, 3):
            self.world.start_replica(node, *proof)
        for node in (1, 2, 3):
            self.says(f"n{node}", f"ready: node {node} listens")

    def attested_las(self):
        self.world.start_las()
        self.says("las", "las.m1 is attested")
