# SPDX-License-Identifier: Apache-2.0
"""Keys and values as users see them: put, get, del, import, check."""

import json
import os
import tempfile
from pathlib import Path

from cluster import NOT_FOUND, OK, USAGE, ClusterCase, run, total


class Data(ClusterCase):
    def get(self, key):
        return self.expect(self.cluster.avocado("get", key), OK).stdout

    def test_put_get_delete(self):
        c = self.cluster
        self.expect(c.avocado("get", "pgd"), NOT_FOUND)
        self.expect(c.avocado("put", "pgd", "one"), OK)
        self.assertEqual(self.get("pgd"), b"one")
        self.expect(c.avocado("put", "pgd", "two"), OK)
        self.assertEqual(self.get("pgd"), b"two")
        self.expect(c.avocado("del", "pgd"), OK)
        self.expect(c.avocado("get", "pgd"), NOT_FOUND, "avocado: ")
        self.expect(c.avocado("del", "pgd"), OK)
        self.expect(c.avocado("put", "pgd", "again"), OK)
        self.assertEqual(self.get("pgd"), b"again")

    def test_what_was_deleted_is_forgotten(self):
        """COL-4: all members up, no tombstone stays, and the key has another life."""
        c = self.cluster
        nodes = (1, 2, 3)
        before = {n: total(c.shards(n), "collected") for n in nodes}
        for i in range(6):
            self.expect(c.avocado("put", f"gone{i}", "x"), OK)
            self.expect(c.avocado("del", f"gone{i}"), OK)
        for n in nodes:
            self.eventually("no tombstones are left", lambda n=n: total(c.shards(n), "tombstones") == 0)
            self.assertGreaterEqual(total(c.shards(n), "collected"), before[n] + 6)
            self.assertGreater(total(c.shards(n), "floor"), 0)
            self.assertEqual(total(c.shards(n), "listed"), 0)
        self.expect(c.avocado("get", "gone0"), NOT_FOUND)
        self.expect(c.avocado("putnx", "gone0", "1"), OK)
        self.expect(c.avocado("incr", "gone0", "2"), OK)
        self.assertEqual(self.get("gone0"), b"3")

    def test_empty_value_is_a_value(self):
        self.expect(self.cluster.avocado("put", "empty", ""), OK)
        self.assertEqual(self.get("empty"), b"")

    def test_binary_key_and_value(self):
        key, value = bytes(range(256)), os.urandom(5000) + b"\0\n\xff"
        put = self.cluster.avocado("put", "--key-hex", key.hex(), "-", stdin=value)
        self.expect(put, OK)
        got = self.cluster.avocado("get", "--key-hex", key.hex())
        self.assertEqual(self.expect(got, OK).stdout, value)
        # A key without zero bytes may also be given as it is.
        self.expect(self.cluster.avocado("put", b"\xff\xfe raw \x01", "v"), OK)
        self.assertEqual(self.get(b"\xff\xfe raw \x01"), b"v")

    def test_values_of_every_size_class(self):
        for size in (1, 63, 1000, 1400, 8961, 65537, 1 << 20):
            value = os.urandom(size)
            self.expect(self.cluster.avocado("put", "size", "-", stdin=value), OK)
            self.assertEqual(self.get("size"), value, f"{size} bytes")

    def test_value_from_file(self):
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"from a file\n")
            f.flush()
            self.expect(self.cluster.avocado("put", "--value-file", f.name, "file"), OK)
        self.assertEqual(self.get("file"), b"from a file\n")
        self.expect(self.cluster.avocado("put", "--value-file", "/no/such", "file"), USAGE)

    def test_longest_key(self):
        self.expect(self.cluster.avocado("put", "k" * 1024, "v"), OK)
        self.assertEqual(self.get("k" * 1024), b"v")

    def test_too_big_is_refused(self):
        c = self.cluster
        self.expect(c.avocado("put", "k" * 1025, "v"), USAGE, "1024")
        self.expect(c.avocado("put", "", "v"), USAGE)
        self.expect(c.avocado("put", "big", "-", stdin=b"x" * ((1 << 20) + 1)), USAGE)
        self.expect(c.avocado("put", "big", "-", stdin=b"x" * ((16 << 20) + 1)), USAGE)
        self.expect(c.avocado("get", "big"), NOT_FOUND)

    def test_json(self):
        c = self.cluster
        put = json.loads(self.expect(c.avocado("--json", "put", "j", "ü"), OK).stdout)
        self.assertEqual(put, {"status": "OK", "key": "j"})
        got = json.loads(self.expect(c.avocado("get", "j", "--json"), OK).stdout)
        self.assertEqual(got, {"status": "OK", "key": "j", "value": "ü"})
        self.expect(c.avocado("put", "j", "-", stdin=b"\xff\0"), OK)
        got = json.loads(self.expect(c.avocado("get", "j", "--json"), OK).stdout)
        self.assertEqual(got["value_hex"], "ff00")
        missing = json.loads(self.expect(c.avocado("get", "no", "--json"), NOT_FOUND).stdout)
        self.assertEqual(missing["status"], "NOT_FOUND")

    def test_every_coordinator_tells_the_same(self):
        with tempfile.TemporaryDirectory() as d:
            one = Path(d) / "one.tsv"
            one.write_text("coordinated\tvalue\n")
            self.expect(self.cluster.avocado("import", "--coordinator", 2, one), OK)
            for n in (1, 2, 3):
                self.expect(self.cluster.avocado("check", "--coordinator", n, one), OK)

    def test_import_and_check(self):
        c = self.cluster
        with tempfile.TemporaryDirectory() as d:
            table, other = Path(d) / "t.tsv", Path(d) / "o.tsv"
            lines = [f"import/{i}\t{i * i}" for i in range(3000)]
            table.write_text("\n".join(lines) + "\n")
            done = self.expect(c.avocado("import", table, "--json"), OK)
            self.assertEqual(json.loads(done.stdout)["records"], 3000)
            self.expect(c.avocado("check", table), OK, "0 missing, 0 different")
            other.write_text("\n".join([*lines[:10], "import/10\tno", "import/x\t1"]))
            bad = self.expect(c.avocado("check", other, "--json"), NOT_FOUND)
            self.assertEqual(json.loads(bad.stdout)["missing"], 1)
            self.assertEqual(json.loads(bad.stdout)["different"], 1)
            other.write_text("good\t1\nbad\n")
            self.expect(c.avocado("import", other), USAGE, "line 2")

    def test_usage(self):
        for args in (["put", "k"], ["put", "k", "v", "w"], ["get"], ["frob"], ["get", "--no", "k"],
                     ["put", "--key-hex", "abc", "v"], ["--timeout", "0", "get", "k"],
                     ["get", "--timeout", "soon", "k"]):
            self.expect(self.cluster.avocado(*args), USAGE)
        for args in (["--help"], ["--version"], ["put", "--help"], ["up", "--help"], ["help"]):
            self.assertTrue(self.expect(run("avocado", *args), OK).stdout)

    def test_environment_names_the_cluster(self):
        env = {"AVOCADO_CLUSTER": str(self.cluster.yaml)}
        self.expect(run("avocado", "put", "env", "v", env=env), OK)
        self.assertEqual(self.expect(run("avocado", "get", "env", env=env), OK).stdout, b"v")


class SmallValues(ClusterCase):
    options = ("--value-max", "1k")

    def test_limit_of_the_cluster(self):
        self.expect(self.cluster.avocado("put", "k", "-", stdin=b"x" * 1024), OK)
        self.expect(self.cluster.avocado("put", "k", "-", stdin=b"x" * 1025), USAGE)
        self.assertEqual(len(self.cluster.avocado("get", "k").stdout), 1024)
