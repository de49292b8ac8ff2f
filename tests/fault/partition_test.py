#!/usr/bin/env python3
"""Converts on a gang of four ranks over two nodes and cuts one of them off in the middle, completely or in one
direction: the result is the same, bit for bit.

The nodes are network namespaces, each with its own worker of two slots; all calls use mutual TLS.
"""

import os
import shutil
import sys
import unittest

from harness import job_file, nodes
from harness.program_test import digest_of
from harness.spread_gang import SpreadGangTest

# Some steps are left after the checkpoint at which the nodes are parted.
_STEPS = int(os.environ.get("REGROUP_TEST_STEPS", "24"))


class Partition(SpreadGangTest):
    task_id = "finetune"

    def setUp(self):
        super().setUp()
        self.nodes = nodes.Nodes(2)
        self.addCleanup(self.nodes.remove)

    def submit(self):
        job = job_file.small_job(self.output, calibration={"ranks": 4},
                                 finetune={"ranks": 4, "steps": _STEPS, "batch_sequences": 4})
        return self.cluster.submit(self.write_job(job))

    def convert(self, name, disturb=lambda job: None):
        """Converts on a new cluster and returns the result's digests; the output folder is free again afterwards."""
        folder = self.folder / name
        folder.mkdir()
        self.cluster = nodes.NodeCluster(folder, self.nodes, slots=2, lease_s=5)
        self.addCleanup(self.cluster.stop)
        try:
            job = self.submit()
            disturb(job)
            return self.assert_converted(job)
        finally:
            self.cluster.stop()
            self.assert_nothing_left(10)
            shutil.rmtree(self.output, ignore_errors=True)

    def assert_converted(self, job):
        """Asserts that the job succeeds on both nodes. Returns the result's digests and finetune's last epoch."""
        self.assert_succeeded(self.cluster.wait_for_end(job, 600))
        self.assertEqual(sorted(self.shares(job).values()), [2, 2])
        digests = {name: digest_of(self.output / name)
                   for name in ("model.safetensors", "regroup/alignment.safetensors")}
        epoch = int(self.task(job)["epoch"])
        if epoch > 1:
            self.assert_continued(job)
        return digests, epoch

    def cut_the_helper(self, job):
        self.disturb(job, 1, self.nodes.cut, self.nodes.heal)

    def cut_the_lead(self, job):
        self.disturb(job, 0, self.nodes.cut, self.nodes.heal)

    def deafen_the_helper(self, job):
        self.disturb(job, 1, lambda node: self.nodes.lose(node, to_node=100), self.nodes.lose)

    def silence_the_lead(self, job):
        self.disturb(job, 0, lambda node: self.nodes.lose(node, from_node=100), self.nodes.lose)

    def disturb(self, job, member, cut, heal):
        with self.cluster.held_at_checkpoint(job, 8, ranks=4):
            node = int(self.lead_and_helper(job)[member][-1])
            cut(node)
        try:
            self.assert_attempt_gone(patience_s=20)
        finally:
            heal(node)
        self.wait_for_epoch(job, 2)

    def assert_continued(self, job):
        """Asserts that the second attempt continued from the checkpoint."""
        steps = [step for epoch, step, _ in self.cluster.metric(job, "loss") if epoch == 2]
        self.assertGreater(min(steps), 8)

    def test_changes_nothing_in_the_result(self):
        undisturbed, epoch = self.convert("undisturbed")
        self.assertEqual(epoch, 1)
        for cut in (self.cut_the_helper, self.cut_the_lead, self.deafen_the_helper, self.silence_the_lead):
            with self.subTest(cut.__name__):
                digests, epoch = self.convert(cut.__name__, cut)
                self.assertEqual(epoch, 2)
                self.assertEqual(digests, undisturbed)


if __name__ == "__main__":
    why_not = nodes.why_not() or ("" if shutil.which("mpirun") else "mpirun is not installed")
    if why_not:
        print(f"SKIPPED: {why_not}", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
