# SPDX-License-Identifier: Apache-2.0
"""Scans and multi-key calls against real processes."""

import json
import threading

from cluster import NOT_FOUND, OK, USAGE, Case, Cluster, ClusterCase


def lines(done):
    return done.stdout.decode().splitlines()


class Scan(ClusterCase):
    options = ("--workers", "2")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = [f"user:{i:05d}" for i in range(0, 3000, 3)]
        cls.cluster.avocado("import", "-", stdin="".join(f"{k}\tv{k}\n" for k in cls.keys).encode())

    def run_ok(self, *args, code=OK, **kw):
        done = self.cluster.avocado(*args, **kw)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done

    def test_order_and_ranges(self):
        self.assertEqual(lines(self.run_ok("scan", "--prefix", "user:")), self.keys)
        self.assertEqual(lines(self.run_ok("scan", "--prefix", "user:", "--reverse")), self.keys[::-1])
        want = [k for k in self.keys if "user:00100" <= k < "user:00200"]
        self.assertEqual(lines(self.run_ok("scan", "user:00100", "user:00200")), want)
        self.assertEqual(lines(self.run_ok("scan", "user:00100", "user:00200", "--reverse", "--values")),
                         [f"{k}\tv{k}" for k in want[::-1]])
        self.assertEqual(lines(self.run_ok("scan", "user:00100", "user:00100")), [])
        self.assertEqual(lines(self.run_ok("scan", "--prefix", "user:00", "user:00990")),
                         [k for k in self.keys if "user:00990" <= k < "user:01"])

    def test_cursor_goes_on_where_the_limit_stopped(self):
        for direction in [], ["--reverse"]:
            got, cursor = [], ""
            while True:
                out = lines(self.run_ok("scan", "--prefix", "user:", "--limit", "307", "--json", *direction,
                                       "--cursor", cursor))
                got += [json.loads(line)["key"] for line in out[:-1]]
                end = json.loads(out[-1])
                cursor = end["cursor"]
                if end["count"] < 307:
                    break
            self.assertEqual(got, self.keys[::-1] if direction else self.keys)

    def test_cursor_from_elsewhere(self):
        end = json.loads(lines(self.run_ok("scan", "--prefix", "user:", "--limit", "2", "--json"))[-1])
        for args in (["--reverse", "--prefix", "user:"], ["--prefix", "us"], ["user:"], []):
            done = self.run_ok("scan", "--cursor", end["cursor"], *args, code=USAGE)
            self.assertIn(b"another cluster, range or direction", done.stderr)
        done = self.run_ok("scan", "--cursor", "nonsense", code=USAGE)
        self.assertIn(b"no cursor", done.stderr)
        done = self.run_ok("scan", "b", "a", code=USAGE)
        self.assertIn(b"start lies after the end", done.stderr)

    def test_binary_keys(self):
        keys = ["00", "0000", "00ff", "ff", "ffff", "ff" * 1024]
        for k in keys:
            self.run_ok("put", "--key-hex", k, "x" + k[:4])
        got = lines(self.run_ok("scan", "--key-hex", "--prefix", "00"))
        self.assertEqual(got, keys[:3])
        got = [json.loads(line) for line in lines(self.run_ok("scan", "--key-hex", "ff", "--json", "--values"))]
        self.assertEqual([(e["key_hex"], e["value"]) for e in got[:-1]],
                         [(k, "x" + k[:4]) for k in keys[3:]])
        for k in keys:
            self.run_ok("del", "--key-hex", k)

    def test_large_values(self):
        for i in range(3):
            self.run_ok("put", f"big:{i}", "-", stdin=bytes([65 + i]) * 1000000)
        out = self.run_ok("scan", "--prefix", "big:", "--values").stdout
        self.assertEqual(out, b"".join(b"big:%d\t%b\n" % (i, bytes([65 + i]) * 1000000) for i in range(3)))
        for i in range(3):
            self.run_ok("del", f"big:{i}")
        self.assertEqual(lines(self.run_ok("scan", "--prefix", "big:")), [])

    def test_many_keys_at_once(self):
        pairs = [(f"m:{i}", f"value {i}") for i in range(500)]
        self.run_ok("mput", *[w for p in pairs for w in p])
        got = lines(self.run_ok("mget", *[k for k, _ in pairs]))
        self.assertEqual(got, [f"{k}\t{v}" for k, v in pairs])
        done = self.run_ok("mget", "m:1", "none", "m:2", code=NOT_FOUND)
        self.assertEqual(lines(done), ["m:1\tvalue 1", "m:2\tvalue 2"])
        got = [json.loads(line) for line in lines(self.run_ok("mget", "m:7", "none", "--json", code=NOT_FOUND))]
        self.assertEqual(got, [{"status": "OK", "key": "m:7", "value": "value 7"},
                               {"status": "NOT_FOUND", "key": "none"}])
        self.run_ok("mput", "odd", code=USAGE)

    def test_values_that_do_not_fit_one_answer(self):
        for i in range(6):
            self.run_ok("put", f"b:{i}", "-", stdin=bytes([97 + i]) * 50000)
        out = self.run_ok("mget", *[f"b:{i}" for i in range(6)]).stdout
        self.assertEqual(out, b"".join(b"b:%d\t%b\n" % (i, bytes([97 + i]) * 50000) for i in range(6)))


class ScanUnderFire(Case):
    def test_while_writes_go_on_and_a_replica_dies(self):
        """Keys that nobody writes are seen exactly once, whatever happens to the others."""
        with Cluster() as c:
            stable = [f"k{i:05d}s" for i in range(2000)]
            c.avocado("import", "-", stdin="".join(f"{k}\tx\n" for k in stable).encode())
            stop = threading.Event()

            def write():
                n = 0
                while not stop.is_set():
                    n += 1
                    c.avocado("mput", *[w for i in range(200)
                                        for w in (f"k{(i * 7 + n) % 2000:05d}m", "y")])

            writer = threading.Thread(target=write)
            writer.start()
            try:
                for round_ in range(6):
                    if round_ == 2:
                        c.kill(2)
                    args = ["--reverse"] if round_ % 2 else []
                    done = c.avocado("scan", *args)
                    self.assertEqual(done.returncode, OK, done.stderr.decode())
                    got = lines(done)
                    self.assertEqual(got, sorted(got, reverse=bool(args)))
                    got = [k for k in got if k.endswith("s")]
                    self.assertEqual(got, stable[::-1] if args else stable)
            finally:
                stop.set()
                writer.join()
