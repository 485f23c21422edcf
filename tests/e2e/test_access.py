# SPDX-License-Identifier: Apache-2.0
"""Client roles: what a certificate does not permit, no replica does. ACL-1 to ACL-5"""

import json
import subprocess

from cluster import BUILD, NOT_FOUND, OK, REFUSED, run, total
from world import BY_EVIDENCE, WorldCase

ROLES = """client_roles:
  - client_role: reader
    may: ["read,scan:a/"]
  - client_role: of-b
    may: ["read,write,scan,status:b/"]
clients:
  - client: web
  - client: reader
    client_role: reader
  - client: of-b
    client_role: of-b
"""


class Access(WorldCase):
    def setUp(self):
        super().setUp()
        with open(self.world.dir / "policy.yaml", "a") as f:
            f.write(ROLES)

    def client(self, name):
        """Runs avocado under a certificate of that name."""
        yaml = self.world.new_client(name)
        return lambda *args, **kw: run("avocado", args[0], "--cluster", yaml, *args[1:], **kw)

    def test_roles_bind_at_every_replica(self):
        w = self.world
        self.serving(*BY_EVIDENCE)
        web, reader, of_b = self.client("web"), self.client("reader"), self.client("of-b")
        for key in ("a/1", "b/1", "b/2", "c"):
            self.expect(web("put", key, "hidden" if key[0] != "a" else "seen"), OK)

        def refused(done, right):
            self.expect(done, REFUSED, f"do not give the right {right}")
            self.assertNotIn(b"hidden", done.stdout + done.stderr)

        # A reader reads, and does nothing else.
        self.assertEqual(self.expect(reader("get", "a/1"), OK).stdout, b"seen")
        self.expect(reader("get", "a/none"), NOT_FOUND)
        for words in (("put", "a/1", "x"), ("del", "a/1"), ("incr", "a/1"),
                      ("cas", "a/1", "seen", "x")):
            refused(reader(*words), "write")
        self.expect(web("get", "a/1"), OK, "seen")

        # Prefix a/ sees nothing of b/, whichever way it asks.
        refused(reader("get", "b/1"), "read")
        refused(reader("cas", "b/1", "x", "y"), "read,write")
        refused(reader("scan"), "scan")
        refused(reader("scan", "--prefix", "b/"), "scan")
        refused(reader("scan", "a/", "b/2"), "scan")
        refused(reader("scan", "--prefix", "b/", "--values"), "read,scan")
        self.assertEqual(self.expect(reader("scan", "--prefix", "a/"), OK).stdout, b"a/1\n")
        done = reader("mget", "a/1", "b/1", "--json")
        self.expect(done, REFUSED, "REFUSED")
        self.assertNotIn(b"hidden", done.stdout)
        self.expect(reader("mget", "a/1"), OK, "seen")
        self.expect(reader("mput", "b/1", "x"), REFUSED)

        # Prefix b/ works within b/.
        self.expect(of_b("put", "b/3", "x"), OK)
        self.expect(of_b("del", "b/3"), OK)
        self.expect(of_b("incr", "b/n", "2"), OK, "2")
        self.assertEqual(self.expect(of_b("scan", "--prefix", "b/"), OK).stdout, b"b/1\nb/2\nb/n\n")
        refused(of_b("get", "c"), "read")
        refused(of_b("put", "a/1", "x"), "write")
        self.expect(web("get", "a/1"), OK, "seen")

        # Every refusal is counted; only who may see the state sees it.
        status = json.loads(of_b("status", "--json").stdout)
        self.assertGreaterEqual(total(status, "requests_forbidden"), 12)
        self.assertIn(b"do not give the right status", reader("status").stdout)

        # CAS-39: a client that is at work loses its sessions within the documented bound.
        def clients():
            done = of_b("status", "--json")
            return done.stdout.count(b'"peer":"client"') - 3  # without of-b's own

        bench = subprocess.Popen([BUILD / "avocado-bench", "--cluster", w.dir / "web.yaml", "--workload", "get",
                                  "--records", "10", "--seconds", "30", "--clients", "1"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(bench.wait)
        self.addCleanup(bench.kill)
        self.eventually("it is connected with all", lambda: clients() >= 3)
        self.assertEqual(w.owner("/v1/revoke", {"name": "web"}), {"revoked": "web"})
        self.eventually("it is connected with none", lambda: clients() == 0, seconds=10)
        for node in (1, 2, 3):
            self.says(f"n{node}", "refused client web: its name is revoked")
        self.expect(of_b("get", "b/1"), OK, "hidden")
