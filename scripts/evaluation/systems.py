# SPDX-License-Identifier: Apache-2.0
"""The stores under comparison, each with three nodes on loopback, in a folder of their own.

A system is a context manager: it starts its processes, waits until they answer, and ends those (and only
those) that it started. `cluster` is what --cluster of bench-peers takes. `guarantee` says what a completed
write and a read mean there, because figures without that mislead.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .processes import cpu_s, descendants

START_S = 30


class Missing(Exception):
    """A program that the system needs is not installed."""


def free_ports(n):
    """So many TCP ports that nobody has at the moment."""
    held = [socket.socket() for _ in range(n)]
    try:
        for s in held:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


class System:
    name = ""        # in plots
    guarantee = ""
    programs = ()    # that must be in $PATH
    package = ""     # where they come from
    clients, depth = 8, 16  # that make its best throughput with 128 operations in flight

    def __init__(self, build, folder):
        self.build = Path(build)
        self.load = self.build / "peers/bench-peers"
        self.loaded = set()  # (records, bytes of a value) that it has
        self.folder = Path(folder) / self.name.replace(" ", "-").replace(",", "")
        self.processes = []

    def __enter__(self):
        for program in self.programs:
            if shutil.which(program) is None:
                raise Missing(f"{program} is not installed (Debian package {self.package})")
        self.folder.mkdir(parents=True)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def stop(self):
        for p in self.processes:
            p.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(timeout=10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.processes = []

    def spawn(self, *words):
        log = open(self.folder / f"{len(self.processes)}.log", "wb")
        with log:
            self.processes.append(subprocess.Popen([str(w) for w in words], stdout=log,
                                                   stderr=subprocess.STDOUT, cwd=self.folder))

    def certificate(self):
        """One certificate for all servers, which is its own CA."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-out", "ca.pem",
                        "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                       cwd=self.folder, check=True, stderr=subprocess.DEVNULL)
        return self.folder / "ca.pem", self.folder / "key.pem"

    def wait_for(self, ready, what):
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            for p in self.processes:
                if p.poll() is not None:
                    break
            else:
                if ready():
                    return
                time.sleep(0.05)
                continue
            break
        logs = "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-1500:]}"
                         for f in sorted(self.folder.glob("*.log")))
        raise RuntimeError(f"{self.name}: {what} did not happen\n{logs}")

    def answers(self):
        """One get through the load generator itself."""
        return subprocess.run([str(self.build / "peers/bench-peers"), "--cluster", self.cluster, "--no-load",
                               "--records", "1", "--clients", "1", "--seconds", "0.01", "--warmup", "0",
                               "--workload", "get", "--timeout", "1", "--quiet", "--json", "-"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


class Avocado(System):
    name = "Avocado"
    guarantee = ("linearizable reads and writes on every key; every datagram and stored value sealed with "
                 "AES-256-GCM; mutual authentication; survives the loss of any minority")

    def __init__(self, build, folder, up=(), programs=None, load=None):
        """`up`: words for `avocado up`. `programs`: a folder with others than those of the build; `load`: the generator."""
        super().__init__(build, folder)
        self.up, self.programs_dir = [str(w) for w in up], programs or self.build
        self.load = load or self.load

    def start(self):
        self.data = self.folder / "d"
        done = subprocess.run([str(self.programs_dir / "avocado"), "up", "--dir", str(self.data), *self.up],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"avocado up {' '.join(self.up)}: {done.stderr.strip()}")
        self.cluster = str(self.data / "client.yaml")

    def stop(self):
        subprocess.run([str(self.programs_dir / "avocado"), "down", "--dir", str(self.data)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pid(self, node):
        return int((self.data / f"run/node-{node}.pid").read_text().split()[0])

    def spent(self):
        """By all its processes so far: seconds of processor time, datagrams and bytes that replicas sent."""
        supervisor = int((self.data / "run/supervisor.pid").read_text().split()[0])
        done = subprocess.run([str(self.build / "avocado"), "status", "--cluster", self.cluster, "--json"],
                              stdout=subprocess.PIPE)
        reports = [n["report"] for n in json.loads(done.stdout)["nodes"]]
        rpc = [shard["rpc"] for r in reports for shard in r["shards"]]
        return {"cpu_s": sum(map(cpu_s, descendants(supervisor))),
                **{k: sum(r[k] for r in rpc) for k in ("tx_packets", "tx_bytes")}}


class Redis(System):
    """Three nodes with TLS everywhere; no disk."""
    programs = ("redis-server",)
    package = "redis-server"
    options = ""

    def start(self):
        ca, key = self.certificate()
        ports = free_ports(3)
        for i, port in enumerate(ports):
            (self.folder / str(i)).mkdir()
            self.spawn("redis-server", "--port", 0, "--tls-port", port, "--bind", "127.0.0.1",
                       "--tls-cert-file", ca, "--tls-key-file", key, "--tls-ca-cert-file", ca,
                       "--tls-auth-clients", "no", "--tls-replication", "yes", "--save", "", "--appendonly",
                       "no", "--dir", self.folder / str(i), "--repl-diskless-sync", "yes",
                       "--repl-diskless-sync-delay", "0",
                       *(["--replicaof", "127.0.0.1", ports[0]] if i > 0 else []))
        self.cluster = f"redis://127.0.0.1:{ports[0]}?ca={ca}"
        self.wait_for(self.answers, "the start")
        self.wait_for(lambda: (self.folder / "0.log").read_text().count("succeeded") >= 2,
                      "the replicas' first synchronisation")
        self.cluster += self.options


class RedisAlone(Redis):
    name = "Redis TLS, no WAIT"
    guarantee = ("a write is acknowledged by the primary alone and lost if that dies; reads are of the "
                 "primary; values lie open in memory")


class RedisWait1(Redis):
    name = "Redis TLS, WAIT 1 each"
    guarantee = ("WAIT 1 after every SET: one replica has received it. Not linearizable, and acknowledged "
                 "writes can be lost at failover (redis.io/commands/wait)")
    options = "&wait=1"


class RedisWait16(Redis):
    name = "Redis TLS, WAIT 1 per 16"
    guarantee = "as WAIT 1 each, but 16 SETs of a connection wait together: less work for the same weak promise"
    options = "&wait=1&every=16"


class Memcached(System):
    name = "memcached TLS"
    guarantee = "no replication: a dead node's keys are gone; keys are spread over three nodes by the client"
    programs = ("memcached",)
    package = "memcached"
    clients, depth = 128, 1  # with TLS its pipelining hangs (peers/peer_target.c)

    def start(self):
        ca, key = self.certificate()
        ports = free_ports(3)
        user = ["-u", "root"] if os.geteuid() == 0 else []
        for port in ports:
            self.spawn("memcached", *user, "-l", "127.0.0.1", "-p", port, "-m", 2048, "-t", 1, "-I", "8m", "-Z", "-o",
                       f"ssl_chain_cert={ca},ssl_key={key}")
        self.cluster = f"memcached://{','.join(f'127.0.0.1:{p}' for p in ports)}?ca={ca}"
        self.wait_for(self.answers, "the start")


class Etcd(System):
    name = "etcd TLS"
    guarantee = ("linearizable reads and writes, durable (Raft; its log is on a memory file system here). "
                 "Loaded through its JSON gateway over HTTP/1.1; gRPC costs less")
    programs = ("etcd",)
    package = "etcd-server"
    clients, depth = 128, 1  # HTTP/1.1 has no pipelining there

    def start(self):
        ca, key = self.certificate()
        ports, peers = free_ports(3), free_ports(3)
        members = ",".join(f"e{i}=https://127.0.0.1:{p}" for i, p in enumerate(peers))
        self.memory = Path("/dev/shm") / f"evaluate-etcd-{os.getpid()}"
        for i in range(3):
            self.spawn("etcd", "--name", f"e{i}", "--data-dir", self.memory / str(i),
                       "--listen-client-urls", f"https://127.0.0.1:{ports[i]}",
                       "--advertise-client-urls", f"https://127.0.0.1:{ports[i]}",
                       "--listen-peer-urls", f"https://127.0.0.1:{peers[i]}",
                       "--initial-advertise-peer-urls", f"https://127.0.0.1:{peers[i]}",
                       "--initial-cluster", members, "--cert-file", ca, "--key-file", key,
                       "--peer-cert-file", ca, "--peer-key-file", key, "--peer-trusted-ca-file", ca,
                       "--log-level", "error")
        self.cluster = f"etcd://{','.join(f'127.0.0.1:{p}' for p in ports)}?ca={ca}"
        self.wait_for(self.answers, "the start")

    def stop(self):
        super().stop()
        shutil.rmtree(self.memory, ignore_errors=True)


PEERS = [RedisAlone, RedisWait16, RedisWait1, Etcd, Memcached]
