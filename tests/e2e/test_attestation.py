# SPDX-License-Identifier: Apache-2.0
"""CAS, LAS and replicas that join with nothing but the CAS's address and CA; and who is refused."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

from cluster import BUILD, INTEGRITY, OK, REFUSED, USAGE, run
from world import BY_EVIDENCE, WorldCase, digest


class Attestation(WorldCase):
    def test_join_and_who_may_not(self):
        w = self.world
        self.founded()
        self.attested_las()
        w.start_replica(1)
        w.start_replica(2)
        w.start_replica(3, *BY_EVIDENCE)
        for node in (1, 2, 3):
            self.says(f"n{node}", f"ready: node {node} listens")
        self.says("cas", "by LAS 'las.m1'", "node 3 joins with incarnation 3 by evidence of software")
        self.eventually("all are connected", lambda: all(
            "connected" in w.log(f"n{n}") for n in (1, 2, 3)))
        self.assertEqual(w.ask("/v1/health")["joined"], 3)

        # A clone, or a restart without memory: no second process gets an incarnation.
        self.expect(w.refused(2), REFUSED, "incarnation 2 of node 2 was given to another process")
        self.says("cas", "refused somebody unproven at /v1/join: incarnation 2 of node 2")
        self.expect(w.refused(7), REFUSED, "node 7 is no member of epoch 1")

        # One that has ended comes back as a new member, once the owner has said so, and votes.
        self.assertEqual(w.stop("n2", signal.SIGKILL), -signal.SIGKILL)
        self.expect(w.refused(2), REFUSED, "joins as a new member once the other one is gone")
        self.assertEqual(w.owner("/v1/member", {"do": "lost", "incarnation": 2})["epoch"], 2)
        w.start_replica(2)
        self.says("cas", "node 2 joins with incarnation 4")
        self.eventually("it votes", lambda: w.owner("/v1/members", None)["health"] == "whole")
        self.assertEqual([m["role"] for m in w.owner("/v1/members", None)["members"]], ["voter"] * 3)

        # Another program with the same evidence, and one whose name alone is right.
        other = w.dir / "other"
        shutil.copy(BUILD / "avocadod", other)
        with open(other, "ab") as f:
            f.write(b"changed")
        self.expect(w.refused(1, *BY_EVIDENCE, program=str(other)), REFUSED,
                    "replica is refused by rule measurement")
        self.expect(w.refused(1, program=str(other)), REFUSED, "LAS 'las.m1' measured")

        # The LAS restarts, and later the CAS: nobody who has joined notices.
        self.assertEqual(w.stop("las"), 0)
        self.assertEqual(w.stop("cas"), 0)
        w.start_las()
        self.says("las", "does not answer", "next attempt in")
        w.start_cas()
        self.eventually("the LAS is attested again", lambda: w.log("las").count("is attested") == 2,
                        seconds=40)
        for node in (1, 2, 3):
            self.assertIsNone(w.running[f"n{node}"].poll())
            self.assertEqual(w.stop(f"n{node}"), 0)

    def test_a_las_names_who_asks(self):
        """LAS-4: the process that the kernel names, and nobody who got hold of its socket."""
        w = self.world
        self.founded()
        self.attested_las()
        las = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(las.close)
        las.settimeout(10)
        las.connect(str(w.dir / "las.sock"))

        def ask(packet):
            las.send(packet)
            reply = las.recv(4096)
            return reply[1], reply[2:]

        def measure(challenge):
            return bytes([1, 2]) + challenge + bytes(64)

        hello = bytes([1, 1])
        code, challenge = ask(hello)
        self.assertEqual((code, len(challenge)), (0, 16))
        code, token = ask(measure(challenge))
        self.assertEqual(code, 0)
        python = hashlib.sha256(Path("/proc/self/exe").read_bytes()).digest()
        self.assertIn(python, token)
        code, text = ask(measure(challenge))
        self.assertNotEqual(code, 0, "one challenge, one token")
        self.assertIn(b"gave no answer to our challenge", text)
        challenge = ask(hello)[1]
        child = os.fork()
        if child == 0:
            las.send(measure(challenge))
            os._exit(0)
        os.waitpid(child, 0)
        reply = las.recv(4096)
        self.assertNotEqual(reply[1], 0, "another process with the same program")
        self.assertIn(b"is not the one that was measured", reply[2:])
        las.send(b"\x01\x02half")
        self.assertEqual(las.recv(4096), b"", "the LAS hangs up on nonsense")

    def test_who_only_connects_keeps_nobody_out(self):
        """CAS-3: descriptors are bounded, others are served meanwhile, and plain text is refused."""
        w = self.world
        self.founded()
        fds = Path(f"/proc/{w.running['cas'].pid}/fd")
        address = ("127.0.0.1", w.ports[0])
        idle = [socket.create_connection(address, timeout=10) for _ in range(600)]
        self.assertEqual(w.ask("/v1/health")["status"], "serving")
        self.assertEqual(idle[0].recv(1), b"", "the oldest makes room")
        self.assertGreater(len(list(fds.iterdir())), 200)
        self.assertLess(len(list(fds.iterdir())), 300)
        for s in idle:
            s.close()
        self.eventually("all are closed", lambda: len(list(fds.iterdir())) < 40)
        self.assertEqual(w.ask("/v1/health")["status"], "serving")
        with socket.create_connection(address, timeout=10) as plain:
            plain.sendall(b"GET /v1/health HTTP/1.1\r\nHost: cas\r\n\r\n")
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := plain.recv(4096):
                    said += piece
            self.assertNotIn(b"HTTP", said)

    def test_join_waits_for_the_cas(self):
        w = self.world
        self.founded()
        self.assertEqual(w.stop("cas"), 0)
        w.start_replica(1, *BY_EVIDENCE)
        self.says("n1", "waiting to join: the CAS at", "is it running and reachable?")
        w.start_cas()
        self.says("n1", "ready: node 1 listens")

    def test_forged_cas(self):
        w = self.world
        self.founded()
        self.assertEqual(w.stop("cas"), 0)
        shutil.copy(w.dir / "ca.pem", w.dir / "real.pem")
        for name in ("cas.db", "cas.db.anchor", "seal.key"):
            (w.dir / name).unlink()
        w.found()
        self.eventually("a forged CAS serves", lambda: w.log("cas").count("serving at") == 2)
        shutil.copy(w.dir / "real.pem", w.dir / "ca.pem")
        self.expect(w.refused(1, *BY_EVIDENCE), REFUSED, "forged CAS",
                    "no certificate of the expected CA")

    def test_state_is_guarded(self):
        w = self.world
        args = ("avocado-cas", *w.cas_args())
        found = ("--found", "--policy", w.dir / "policy.yaml", "--owner-key", w.dir / "owner.pub")

        def cas(*more, text=None):
            words = [str(a) for a in (BUILD / args[0], *args[1:], *more)]
            return subprocess.run(words, cwd=w.dir, capture_output=True, timeout=30)

        self.founded()
        w.start_replica(1, *BY_EVIDENCE)
        self.says("n1", "ready")
        self.assertEqual(w.stop("cas"), 0)
        self.expect(cas(*found), REFUSED, "a cluster exists")
        self.assertEqual(w.stop("n1"), 0)
        self.expect(cas(*found), USAGE, "never founds a second cluster")
        shutil.copy(w.dir / "cas.db", w.dir / "old.db")
        w.start_cas()
        w.start_replica(2, *BY_EVIDENCE)
        self.says("n2", "ready")
        self.assertEqual(w.stop("cas"), 0)
        shutil.copy(w.dir / "cas.db", w.dir / "new.db")
        shutil.copy(w.dir / "old.db", w.dir / "cas.db")
        self.expect(cas(), INTEGRITY, "is rolled back: it is of state version")
        shutil.copy(w.dir / "new.db", w.dir / "cas.db")
        (w.dir / "seal.key").write_bytes(os.urandom(32))
        self.expect(cas(), INTEGRITY, "sealed under another key")

    def test_policy_with_a_mistake(self):
        w = self.world
        text = (w.dir / "policy.yaml").read_text()
        (w.dir / "policy.yaml").write_text(text.replace("mrenclave", "mrenclaves", 1))
        done = subprocess.run([str(BUILD / "avocado-cas"), *w.cas_args(), "--found", "--policy",
                               "policy.yaml", "--owner-key", "owner.pub"], cwd=w.dir,
                              capture_output=True, timeout=30)
        line = text.splitlines().index("        mrenclave: [" + digest(BUILD / "avocadod") + "]") + 1
        self.expect(done, USAGE, f"line {line}: mrenclaves: unknown key")


class Forger:
    """Whoever answers instead of the CAS: has a key of his own, and what the real one said."""

    def __init__(self, world):
        self.world, self.recorded = world, None
        world.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", "/CN=cas", "-days", "1", "-keyout", "forger.key", "-out", "forger.crt")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(world.dir / "forger.crt", world.dir / "forger.key")
        forger = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                said = forger.recorded or world.ask(self.path)
                while "error" in said:  # asked a moment ago
                    said = world.ask(self.path)
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Verify(WorldCase):
    def test_who_is_a_cas(self):
        w = self.world
        self.founded()
        forger = Forger(w)
        self.addCleanup(forger.close)
        cas = digest(BUILD / "avocado-cas")
        software = ("--software", w.dir / "sw/root/root_ca.pem")

        def verify(address, *args):
            return run("avocado", "verify", address, *args)

        good = self.expect(verify(w.cas_address, "--json", "--measurement", cas, *software), OK)
        told = json.loads(good.stdout)
        self.assertEqual((told["evidence"], told["protected"], told["cluster"]),
                         ("software", False, "attested"))
        self.expect(verify(w.cas_address, "--measurement", digest(BUILD / "avocadod"), *software),
                    REFUSED, "refused by rule measurement")
        self.expect(verify(w.cas_address, "--measurement", cas), REFUSED, "--software ROOT accepts it")
        self.expect(verify(w.cas_address, "--measurement", cas[1:]), USAGE, "64 lower-case hex digits")
        self.expect(verify(w.cas_address), USAGE, "say whom to trust")
        (w.dir / "wants.yaml").write_text(
            f"version: 1\nsoftware:\n  mrenclave: [{cas}]\n  isvsvn_min: 9\n")
        self.expect(verify(w.cas_address, "--policy", w.dir / "wants.yaml", *software), REFUSED,
                    "rule minimum")

        # Somebody in between, with fresh evidence of the real one; later with what he recorded.
        self.expect(verify(forger.address, "--measurement", cas, *software), REFUSED,
                    "evidence of another TLS key than its own")
        forger.recorded = w.ask("/v1/evidence")
        refused = verify(forger.address, "--json", "--measurement", cas, *software)
        self.assertEqual((refused.returncode, json.loads(refused.stdout)["status"]),
                         (REFUSED, "REPLAYED"))
        self.expect(verify(forger.address, "--ca", w.dir / "ca.pem"), REFUSED, "forged CAS")

        # A client who knows a measurement, and an owner who lets him in.
        (w.dir / "mine").mkdir()
        self.expect(verify(w.cas_address, "--measurement", cas, *software, "--client", "web", "--out",
                           w.dir / "mine/client.yaml"), OK, "client.csr to the owner")
        self.assertEqual((w.dir / "mine/ca.crt").read_bytes(), (w.dir / "ca.pem").read_bytes())
        self.expect(verify(w.cas_address, "--ca", w.dir / "ca.pem", "--owner-key", w.dir / "owner.key",
                           "--request", w.dir / "mine/client.csr", "--client", "web", "--out",
                           w.dir / "client.yaml"), OK)
        shutil.copy(w.dir / "client.crt", w.dir / "mine/client.crt")
        answer = w.ask("/v1/config", None, ("mine/client.crt", "mine/client.key"))
        self.assertEqual(answer["epoch"], 1)
        self.assertIn("cert_file: client.crt", (w.dir / "client.yaml").read_text())
        self.expect(verify(w.cas_address, "--ca", w.dir / "ca.pem", "--out", w.dir /
                           "mine/client.yaml"), USAGE, "client.key cannot be written")


class Clients:
    """Certificates for a client, and load under them."""

    pair = None  # certificate and key that client.yaml names

    def renew_client(self):
        """A certificate for a new key: at first from the owner, later with the one before."""
        w = self.world
        n = len(list(w.dir.glob("client-*.key")))
        pair = (f"client-{n}.crt", f"client-{n}.key")
        body = {"key": w.new_key(pair[1])}
        given = (w.owner("/v1/client", {"name": "web", **body}) if self.pair is None
                 else w.ask("/v1/renew", body, self.pair))
        if "certificate" in given:
            (w.dir / pair[0]).write_text(given["certificate"])
            self.pair = pair
            self.yaml = w.client_yaml(pair)
        return given

    def long_lived_client(self):
        w = self.world
        policy = (w.dir / "policy.yaml").read_text()
        policy = policy.replace("policy: 1", "policy: 2", 1).replace("12s", "24h", 1)
        self.assertEqual(w.owner("/v1/policy", {"policy": policy}), {"policy": 2})
        self.assertIn("certificate", self.renew_client())

    def load(self, failures, stop):
        """New clients all the time: each is a handshake with the certificates of now."""
        n = 0
        while not stop.is_set():
            for words in (("put", f"k{n % 7}", str(n)), ("get", f"k{n % 7}")):
                done = run("avocado", "--cluster", self.yaml, *words)
                if done.returncode != OK:
                    failures.append(done.stderr.decode())
            n += 1


class Rotation(Clients, WorldCase):
    lifetime = "12s"

    def exchange(self):
        """The files of the client that stays, one after the other, as an agent on its machine would."""
        for new, stays in zip(self.pair, ("stays.crt", "stays.key")):
            shutil.copy(self.world.dir / new, self.world.dir / "stays.new")
            (self.world.dir / "stays.new").rename(self.world.dir / stays)

    def test_certificates_rotate_and_names_are_revoked(self):
        w = self.world
        self.serving(*BY_EVIDENCE)
        self.assertIn("certificate", self.renew_client())
        self.exchange()
        stays = w.client_yaml(("stays.crt", "stays.key")).rename(w.dir / "stays.yaml")
        yaml = w.client_yaml(self.pair)
        failures, stop = [], threading.Event()
        worker = threading.Thread(target=self.load, args=(failures, stop))
        # A client that stays: before its sessions end with its certificate (CTL-14) it moves over to what
        # stands in its files by then (CLI-17), and no write of it is in doubt.
        bench = subprocess.Popen(
            [BUILD / "avocado-bench", "--cluster", stays, "--workload", "a", "--records", "7",
             "--seconds", "60", "--clients", "2", "--depth", "4", "--timeout", "2", "--json", w.dir / "bench.json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(bench.kill)
        # Until every first certificate, the client's too, has been out of date for a while.
        until = time.monotonic() + 16
        worker.start()
        while time.monotonic() < until:
            time.sleep(3)
            self.assertIn("certificate", self.renew_client())
            self.exchange()
        stop.set()
        worker.join()
        self.assertEqual(failures, [])
        bench.send_signal(signal.SIGINT)
        bench.wait(timeout=30)
        measured = json.loads((w.dir / "bench.json").read_text())
        self.assertEqual(measured["errors_by_status"], {})
        self.assertLess(measured["max_us"], 1_000_000)  # it did not wait for a timeout either
        for node in (1, 2, 3):
            self.assertGreaterEqual(w.log(f"n{node}").count("our certificate is renewed"), 2)
            self.assertFalse("its certificate has ended" in w.log(f"n{node}"), "a client stayed until the end")

        self.long_lived_client()  # so that nothing but the revocation ends it
        self.expect(run("avocado", "--cluster", yaml, "put", "k", "v"), OK)
        self.assertEqual(w.owner("/v1/revoke", {"name": "web"}), {"revoked": "web"})
        self.assertEqual(self.renew_client()["error"]["code"],
                         "REVOKED")
        self.eventually("every replica has heard of it", lambda: run(
            "avocado", "--cluster", yaml, "put", "k", "v").returncode == REFUSED, seconds=15)
        done = run("avocado", "--cluster", yaml, "get", "k0")
        self.expect(done, REFUSED, "revoked")

    def test_without_the_cas_all_goes_on(self):
        w = self.world
        self.serving(*BY_EVIDENCE)
        self.long_lived_client()
        self.assertEqual(w.stop("cas"), 0)
        for node in (1, 2, 3):
            self.says(f"n{node}", "we serve on, certificates and revocations wait")
        self.expect(run("avocado", "--cluster", self.yaml, "put", "k", "v"), OK)
        w.start_cas()
        for node in (1, 2, 3):
            self.says(f"n{node}", "the CAS answers again", "our certificate is renewed")


class OtherCa(Clients, WorldCase):
    lifetime = "24h"

    def rolled(self, step, **more):
        """One step of the owner's; members take it by themselves."""
        answer = self.world.owner("/v1/ca", {"step": step, **more})
        self.assertIn("ca", answer, answer)
        return answer["ca"]

    def ready_for(self, step):
        """Every member has taken the step before: what is left is the time for clients."""
        self.eventually(f"members are ready to {step}", lambda: self.world.owner(
            "/v1/ca", {"step": step})["error"]["code"] == "CLIENTS")

    def test_everything_rotates_under_load(self):
        """CAS-41: another CA, and with it every certificate and key, and nobody notices."""
        w = self.world
        self.serving(*BY_EVIDENCE)
        self.assertIn("certificate", self.renew_client())
        bench = subprocess.Popen(  # sessions that stay, and new ones all the time
            [BUILD / "avocado-bench", "--cluster", self.yaml, "--workload", "a", "--records", "50",
             "--seconds", "60", "--clients", "2", "--json", w.dir / "bench.json"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(bench.kill)
        failures, stop = [], threading.Event()
        worker = threading.Thread(target=self.load, args=(failures, stop))
        worker.start()
        self.addCleanup(stop.set)
        try:
            first = (w.dir / "ca.pem").read_text()
            self.assertEqual(w.owner("/v1/ca", {"step": "switch"})["error"]["code"], "STEP")
            both = self.rolled("add")
            self.assertEqual(both.count("BEGIN"), 2)
            self.assertTrue(both.startswith(first))
            w.write_whole("ca.pem", both)
            self.ready_for("switch")
            self.rolled("switch", clients_know=True)
            old = self.pair
            self.assertIn("certificate", self.renew_client())
            self.ready_for("retire")
            last = self.rolled("retire", clients_know=True)
            self.assertEqual(last.count("BEGIN"), 1)
            self.assertTrue(both.endswith(last))
            w.write_whole("ca.pem", last)
            for node in (1, 2, 3):
                self.eventually("each step was a renewal", lambda: w.log(f"n{node}").count(
                    "our certificate is renewed") >= 3)
        finally:
            stop.set()
            worker.join()
        self.assertEqual(failures, [])
        self.assertIsNone(bench.poll(), "the sessions of before serve on")
        bench.send_signal(signal.SIGINT)
        bench.communicate(timeout=30)
        self.assertEqual(json.loads((w.dir / "bench.json").read_text())["errors"], 0)

        # What the former CA issued is nobody's any more; a restarted CAS goes on.
        self.expect(run("avocado", "--cluster", self.yaml, "get", "k0"), OK)
        self.expect(run("avocado", "--cluster", w.client_yaml(old), "get", "k0"), REFUSED)
        self.assertEqual(w.ask("/v1/config", None, old)["error"]["code"], "CERTIFICATE")
        self.assertEqual(w.stop("cas"), 0)
        w.start_cas()
        self.eventually("it serves again", lambda: w.log("cas").count("serving at") == 2)
        self.assertEqual(w.ask("/v1/config", None, self.pair)["ca"], last)
