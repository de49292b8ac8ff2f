#!/usr/bin/env python3
"""Runs the contract tests of communicators on GPUs, over NCCL: with one rank, and with one per GPU if there are
several."""

import os
import subprocess
import unittest

import gpus
from harness import loaded

PROGRAM = loaded.LOAD_PROGRAMS / "communicator_test"
# Those of tests/fake_gpu/runtime, here without the pretended libraries.
SCENARIOS = loaded.LOAD_PROGRAMS / "fake_runtime_scenarios"
MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-mca", "plm", "isolated")


class GpuCommunicatorTest(unittest.TestCase):
    def run_ranks(self, ranks):
        # mpirun starts even a single rank, since a process alone does not use NCCL.
        done = subprocess.run([*MPIRUN, "-np", str(ranks), PROGRAM], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env={**os.environ, "REGROUP_TEST_DEVICE": "cuda"}, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-4000:])

    def test_one_rank(self):
        self.run_ranks(1)

    @unittest.skipIf(gpus.count() < 2, "one GPU takes one rank")
    def test_collectives_beside_computation(self):
        for scenario in ("collectives", "overlap", "prefetch"):
            done = subprocess.run([*MPIRUN, "-np", str(min(4, gpus.count())), SCENARIOS, scenario],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-4000:])

    @unittest.skipIf(gpus.count() < 2, "one GPU takes one rank")
    def test_a_rank_for_each_gpu(self):
        self.run_ranks(min(4, gpus.count()))


if __name__ == "__main__":
    gpus.skip_without()
    unittest.main(verbosity=2)
