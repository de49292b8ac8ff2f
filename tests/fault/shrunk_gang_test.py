#!/usr/bin/env python3
"""Trains with four ranks over two nodes and kills one node's worker for good: with finetune.min_ranks the two ranks of the
other node go on from the checkpoint, and the loss curve is that of four ranks.

The nodes are network namespaces, each with its own worker of two slots.
"""

import shutil
import sys
import unittest

from harness import job_file, nodes, processes
from harness.spread_gang import SpreadGangTest

_STEPS = 24
_CHECKPOINT = 8
# Sums over two and over four ranks round differently.
_TOLERANCE = 1e-3


class ShrunkGangTest(SpreadGangTest):
    task_id = "finetune"

    def setUp(self):
        super().setUp()
        self.nodes = nodes.Nodes(2)
        self.addCleanup(self.nodes.remove)
        self.cluster = nodes.NodeCluster(self.folder, self.nodes, slots=2, lease_s=3,
                                         coordinator_arguments=("--shrink-after-s", 2))
        self.addCleanup(self.cluster.stop)

    def submit(self, name):
        return self.cluster.submit(self.write_job(job_file.small_job(
            self.results / name, name=name,
            finetune={"method": "direct", "ranks": 4, "min_ranks": 2, "steps": _STEPS, "batch_sequences": 4,
                      "checkpoint_every_steps": _CHECKPOINT})))

    def losses(self, job, epoch):
        return {step: value for of, step, value in self.cluster.metric(job, "loss") if of == epoch}

    def test_goes_on_with_two_of_four_ranks(self):
        whole = self.submit("whole")
        self.assert_succeeded(self.cluster.wait_for_end(whole, 300))
        expected = self.losses(whole, epoch=1)
        self.assertEqual(sorted(expected), list(range(1, _STEPS + 1)))

        job = self.submit("shrunk")
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT, ranks=4):
            _, helper = self.lead_and_helper(job)
            processes.kill_now(self.cluster.workers[helper])
        self.assert_succeeded(self.cluster.wait_for_end(job, 300))
        task = self.task(job)
        self.assertEqual((task["ranks"], int(task["epoch"])), (2, 2), task)
        self.assertEqual(self.shares(job), {}, "one worker runs all ranks that are left")
        after = self.losses(job, epoch=2)
        # The ranks may have reached the next checkpoint before they were stopped.
        self.assertIn(min(after), (_CHECKPOINT + 1, 2 * _CHECKPOINT + 1))
        self.assertEqual(sorted(after), list(range(min(after), _STEPS + 1)))
        apart = {step: abs(loss - expected[step]) / expected[step] for step, loss in after.items()}
        print(f"largest relative difference of the loss: {max(apart.values()):.1e}")
        self.assertLess(max(apart.values()), _TOLERANCE, apart)
        self.cluster.stop()
        self.assert_nothing_left(10)


if __name__ == "__main__":
    why_not = nodes.why_not() or ("" if shutil.which("mpirun") else "mpirun is not installed")
    if why_not:
        print(f"SKIPPED: {why_not}", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
