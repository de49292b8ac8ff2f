#!/usr/bin/env python3
"""Pauses training whose four ranks run on two workers: all ranks stop after the same step, and the result is that of an
undisturbed job, bit for bit.

The nodes are network namespaces, each with its own worker of two slots.
"""

import shutil
import sys
import time
import unittest

from harness import job_file, nodes, processes
from harness.program_test import digest_of
from harness.spread_gang import SpreadGangTest

_STEPS = 60
_CHECKPOINT = 20


class SpreadPauseTest(SpreadGangTest):
    task_id = "finetune"

    def setUp(self):
        super().setUp()
        self.nodes = nodes.Nodes(2)
        self.addCleanup(self.nodes.remove)
        self.cluster = nodes.NodeCluster(self.folder, self.nodes, slots=2, lease_s=3)
        self.addCleanup(self.cluster.stop)

    def submit(self, name):
        return self.cluster.submit(self.write_job(job_file.small_job(
            self.results / name, name=name,
            finetune={"method": "direct", "ranks": 4, "steps": _STEPS, "batch_sequences": 4,
                      "checkpoint_every_steps": _CHECKPOINT})))

    def test_all_ranks_stop_after_the_same_step(self):
        whole = self.submit("whole")
        self.assert_succeeded(self.cluster.wait_for_end(whole, 300))

        job = self.submit("paused")
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT, ranks=4):
            self.assertEqual(len(self.shares(job)), 2)
            self.cluster.json_of("pause", job)
            # Longer than the second between two heartbeats.
            time.sleep(2)
        processes.wait_until(lambda: self.cluster.job(job)["state"] == "JOB_STATE_PAUSED", "the pause", 120, 0.1)
        self.assert_attempt_gone()
        self.cluster.json_of("resume", job)
        self.assert_succeeded(self.cluster.wait_for_end(job, 300))
        steps = [step for _, step, _ in self.cluster.metric(job, "loss")]
        self.assertEqual(steps, list(range(1, _STEPS + 1)))
        self.assertEqual(int(self.task(job)["epoch"]), 2)
        self.assertEqual(digest_of(self.results / "paused/model.safetensors"),
                         digest_of(self.results / "whole/model.safetensors"))
        self.cluster.stop()
        self.assert_nothing_left(10)


if __name__ == "__main__":
    why_not = nodes.why_not() or ("" if shutil.which("mpirun") else "mpirun is not installed")
    if why_not:
        print(f"SKIPPED: {why_not}", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
