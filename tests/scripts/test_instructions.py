# SPDX-License-Identifier: Apache-2.0
"""The guard over what operations cost notices what it should, on figures that were made up."""

import importlib.machinery
import importlib.util
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOADER = importlib.machinery.SourceFileLoader("instructions", str(ROOT / "scripts/instructions"))
instructions = importlib.util.module_from_spec(importlib.util.spec_from_loader("instructions", LOADER))
LOADER.exec_module(instructions)


def case(**changed):
    layers = {"rpc": 500, "store": 490, "libc": 10, **changed.pop("layers", {})}
    ends = lambda n: {"client": n, "coordinator": 2 * n, "members": n}
    return {"instructions": sum(layers.values()), "layers": layers, "messages": ends(1), "datagrams": ends(0.5),
            "bytes": ends(100), **changed}


class Guard(unittest.TestCase):
    def worse(self, **changed):
        return [line.split(":")[0] for line in instructions.complaints({"get": case()}, {"get": case(**changed)})[0]]

    def test_what_is_as_recorded_passes(self):
        self.assertEqual(self.worse(), [])
        self.assertEqual(self.worse(layers={"rpc": 520, "store": 510}), [])

    def test_what_costs_more_is_named(self):
        self.assertEqual(self.worse(layers={"rpc": 560}), ["get, instructions", "get, instructions of rpc"])
        self.assertEqual(self.worse(layers={"rpc": 470, "store": 520}), ["get, instructions of store"])
        self.assertEqual(self.worse(messages={"client": 1, "coordinator": 3, "members": 1}), ["get, messages"])
        self.assertEqual(self.worse(datagrams={"client": 1, "coordinator": 1, "members": 0.5}), ["get, datagrams"])

    def test_small_layers_and_savings_do_not_fail(self):
        self.assertEqual(self.worse(layers={"libc": 19}), [])
        worse, better = instructions.complaints({"get": case()}, {"get": case(layers={"rpc": 300})})
        self.assertEqual(worse, [])
        self.assertEqual(len(better), 2)

    def test_a_case_without_a_record_fails(self):
        worse, _ = instructions.complaints({}, {"get": case()})
        self.assertIn("not in the record", worse[0])

    def test_costs_are_told_apart(self):
        text = """fl=(1) ../trusted/rpc/rpc.c
fn=(1) rpc_next
10 7
cfi=(2) ../trusted/store/store.c
cfn=(2) store_read
calls=3 20
11 100
fi=(3) ../common/bytes.h
12 5
fl=(4) ../tests/replica/operation_cost.c
fn=(3) operation_cost_measured
cfn=(4) member_turn.constprop.0
calls=1 1
+2 900
"""
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(text)
            f.flush()
            own, ends = instructions.read_profile(f.name)
        self.assertEqual(own, {("rpc", "rpc_next"): 7, ("common", "rpc_next"): 5})
        self.assertEqual(ends, {"members": 900})


if __name__ == "__main__":
    unittest.main()
