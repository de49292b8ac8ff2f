#!/usr/bin/env python3
"""Trains with a rank on each of up to four GPUs, kills one of the ranks, and shards all that can be sharded: the perplexity
is that of a single GPU."""

import json
import signal
import unittest

import gpus
from harness import cluster, job_file, processes
from harness.program_test import ProgramTest

# Sums over more ranks round differently.
SAME = 2e-2


class GpuTrainingTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.ranks = min(4, gpus.count())
        self.cluster = self.start_cluster(workers=1, slots=self.ranks, device="cuda")

    def submit(self, name, **finetune):
        training = {"method": "direct", "steps": 12, "batch_sequences": 4, "sequence_length": 64, "ranks": self.ranks,
                    "checkpoint_every_steps": 4, **finetune}
        return self.cluster.submit(self.write_job(job_file.small_job(
            self.results / name, name=name, resources={"device": "cuda"}, finetune=training,
            evaluation=job_file.evaluation()), f"{name}.yaml"))

    def perplexity(self, job, name):
        job = self.cluster.wait_for_end(job)
        self.assert_succeeded(job)
        report = json.loads((self.results / name / "regroup/report.json").read_text())
        return report["result"]["perplexity"], cluster.epochs(job)["finetune"]

    def test_ranks_that_share_what_they_keep_change_nothing(self):
        one, _ = self.perplexity(self.submit("one", ranks=1), "one")
        figures = {}
        figures["gradients"], _ = self.perplexity(self.submit("gradients", shard="gradients"), "gradients")
        job = self.submit("all", shard="all")
        with self.cluster.held_at_checkpoint(job, 4, ranks=self.ranks) as ranks:
            processes.signal_if_alive(ranks[-1].pid, signal.SIGKILL)
        figures["all, with a rank killed"], epochs = self.perplexity(job, "all")
        self.assertEqual(epochs, 2)
        for name, figure in figures.items():
            self.assertLess(abs(figure - one) / one, SAME, f"{name}: {figure} and {one}")
        print(f"{self.ranks} ranks: perplexity {one:.4f} on one, {figures}")


if __name__ == "__main__":
    gpus.skip_without()
    unittest.main(verbosity=2)
