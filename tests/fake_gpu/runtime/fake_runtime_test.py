#!/usr/bin/env python3
"""The real plug-in for GPUs, libregroup_cuda.so, on a pretended CUDA runtime and a pretended NCCL whose streams are late
at random: collectives, the order of streams, and what goes wrong. No kernel runs."""

import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAMS = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"])
LIBRARIES = PROGRAMS / "fake_gpu/runtime"
MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-mca", "plm", "isolated")
LATE = {"FAKE_CUDA_DELAY_US": "2000"}
LOST = 3


class FakeRuntimeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="regroup-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.flag = self.folder / "flag"

    def run_ranks(self, scenario, ranks=2, patience_s=60, **environment):
        """Returns the end of the scenario's processes, and what they said."""
        preload = ":".join(str(LIBRARIES / name) for name in ("libcuda.so.1", "libcudart.so.13", "libnccl.so.2"))
        given = {"FAKE_NCCL_FOLDER": str(self.folder), "LD_PRELOAD": preload, "CUDA_VISIBLE_DEVICES": ",".join(f"GPU-{rank}" for rank in range(ranks)),
                 **environment}
        # Only the ranks get them: mpirun itself has nothing to do with CUDA.
        exported = [word for name, value in given.items() for word in ("-x", f"{name}={value}")]
        # The ranks end with mpirun, which is killed when its time is over.
        return subprocess.run([*MPIRUN, "-np", str(ranks), *exported, PROGRAMS / "fake_runtime_scenarios", scenario],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=patience_s)

    def assert_right(self, done):
        self.assertEqual(done.returncode, 0, done.stdout[-3000:])
        self.assertNotIn("is not pretended", done.stdout)

    def test_collectives_of_every_type(self):
        for ranks in (1, 2, 3):
            self.assert_right(self.run_ranks("collectives", ranks, **LATE))

    def test_sums_beside_the_backward_pass_wait_for_what_they_need(self):
        self.assert_right(self.run_ranks("overlap", **LATE))

    def test_the_same_is_wrong_if_streams_do_not_wait(self):
        done = self.run_ranks("overlap", FAKE_CUDA_NO_WAITS="1", **LATE)
        self.assertEqual(done.returncode, 1, done.stdout[-3000:])
        self.assertIn("WRONG: sum of bucket", done.stdout)

    def test_weights_that_are_fetched_ahead_are_whole_when_they_are_used(self):
        self.assert_right(self.run_ranks("prefetch", **LATE))

    def test_they_are_wrong_if_streams_do_not_wait(self):
        done = self.run_ranks("prefetch", FAKE_CUDA_NO_WAITS="1", **LATE)
        self.assertEqual(done.returncode, 1, done.stdout[-3000:])
        self.assertIn("WRONG: weights of layer", done.stdout)

    def test_ranks_in_different_collectives_are_noticed(self):
        done = self.run_ranks("differ")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("differ in call 0", done.stdout)

    def test_a_rank_that_cannot_join_ends_all(self):
        for rank in ("0", "1"):
            done = self.run_ranks("join", FAKE_NCCL_BAD_RANK=rank)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(f"[{rank}] UNAVAILABLE: ncclCommInitRank: unhandled system error: the pretended NCCL was told to",
                          done.stdout)

    def test_all_ranks_learn_that_there_is_no_id(self):
        done = self.run_ranks("join", FAKE_NCCL_NO_ID="1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("] UNAVAILABLE: ncclGetUniqueId: unhandled system error", done.stdout)

    def test_a_driver_that_is_too_old_is_named(self):
        done = self.run_ranks("join", ranks=1, FAKE_CUDA_OLD_DRIVER="1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("CUDA cannot use a GPU of this machine: The NVIDIA driver on your system is too old (found version 12020)",
                      done.stdout)

    def test_a_lost_gpu_is_an_error_and_no_crash(self):
        done = self.run_ranks("lose", ranks=1, FAKE_CUDA_LOST_FILE=str(self.flag))
        self.assert_right(done)
        self.assertIn("caught: CUDA error: uncorrectable ECC error encountered", done.stdout)

    def test_a_broken_connection_ends_ranks_that_wait_on_their_gpus(self):
        done = self.run_ranks("wait", FAKE_NCCL_BROKEN_FILE=str(self.flag))
        self.assertEqual(done.returncode, LOST, done.stdout[-3000:])
        self.assertIn("[0] lost: NCCL: remote process exited or there was a network error", done.stdout)

    def test_the_board_names_the_collective_in_flight(self):
        done = self.run_ranks("show")
        self.assertEqual(done.returncode, LOST, done.stdout[-3000:])
        self.assertIn("[0] in flight: all_reduce #0", done.stdout)

    def test_the_board_names_a_wait_of_the_host_after_one_of_the_gpu(self):
        self.assert_right(self.run_ranks("host"))

    def test_time_in_collectives_is_measured_on_the_gpu(self):
        self.assert_right(self.run_ranks("seconds"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
