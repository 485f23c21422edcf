# SPDX-License-Identifier: Apache-2.0
"""A hostile network and a hostile host: refused, counted, survived, repaired."""

from cluster import OK, ClusterCase, hostile, total


class Network(ClusterCase):
    def test_forged_and_replayed_datagrams_are_counted_and_harmless(self):
        c = self.cluster
        lines = "".join(f"forged/{i}\tvalue {i}\n" for i in range(5000)).encode()
        self.expect(c.avocado("import", "-", stdin=lines), OK)
        before = c.shards(1)
        reader = c.start("check", "--coordinator", 1, "-", stdin=lines * 200)
        sent = hostile("network", "%s:%d" % c.address(1))
        out, err = reader.communicate(timeout=60)
        self.assertEqual(reader.returncode, OK, (out + err).decode())

        def grown(*names):
            now = c.shards(1)
            return sum(total(now, n) - total(before, n) for n in names)

        # Most of it is for the kernel's filter; an index in 256 that is guessed passes (CTL-7).
        self.eventually("the kernel's count is here", lambda: grown("kernel_dropped") > 100)
        wanted = (sent["noise"] + sent["guessed"]) // 2
        self.eventually("what was forged is counted",
                        lambda: grown("kernel_dropped", "unknown_index", "malformed") > wanted)
        if sent["replayed"] > 0:  # recording needs root
            self.assertGreaterEqual(grown("auth_failed"), sent["changed"] // 2)
            self.assertGreater(grown("replay_dup", "replay_old"), 0)
        self.expect(c.avocado("put", "forged/0", "still"), OK)
        self.assertEqual(self.expect(c.avocado("get", "forged/0"), OK).stdout, b"still")
        self.assertEqual(c.status()[1]["voting"], 3)


class SplitNetwork(Network):
    """The same with the socket in another process, which tells what its kernel dropped."""

    options = ("--io", "ring")


class Memory(ClusterCase):
    def test_corrupted_values_are_never_returned_and_repaired(self):
        c = self.cluster
        lines = "".join(f"tamper/{i}\t{'value ' * 20}{i}\n" for i in range(200)).encode()
        self.expect(c.avocado("import", "-", stdin=lines), OK)
        self.assertGreater(hostile("memory", c.pid(1))["pages"], 0)
        for n in (1, 2, 3):
            self.expect(c.avocado("check", "--coordinator", n, "-", stdin=lines), OK)
        self.assertGreater(total(c.shards(1), "integrity_failures"), 0)
        self.expect(c.avocado("put", "tamper/0", "new"), OK)
        self.assertEqual(self.expect(c.avocado("get", "tamper/0"), OK).stdout, b"new")
