#!/usr/bin/env python3
"""The number of ranks is no hyperparameter: with one global batch, one rank and two have the same loss curve."""

import unittest

from harness import job_file
from harness.program_test import ProgramTest

STEPS = 50
TOLERANCE = 1e-4
# Before the gates move, student and teacher are one model, and the loss is the rounding of a sum over the vocabulary.
ROUNDING = 1e-6


class LossCurveTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)

    def losses(self, method, ranks):
        finetune = {"method": method, "steps": STEPS, "batch_sequences": 4, "ranks": ranks, "precision": "float32",
                    "checkpoint_every_steps": 0}
        name = f"{method}-{ranks}"
        job = self.cluster.submit(
            self.write_job(job_file.small_job(self.results / name, name=name, finetune=finetune), f"{name}.yaml"))
        self.assert_succeeded(self.cluster.wait_for_end(job, patience_s=600))
        points = {step: value for _, step, value in self.cluster.metric(job, "loss")}
        self.assertEqual(sorted(points), list(range(1, STEPS + 1)))
        return [points[step] for step in sorted(points)]

    def assert_same_curve(self, method):
        one, two = self.losses(method, 1), self.losses(method, 2)
        apart = [(abs(a - b) / max(a, b), step) for step, (a, b) in enumerate(zip(one, two), 1) if max(a, b) > ROUNDING]
        worst, step = max(apart)
        print(f"{method}: largest relative difference {worst:.1e} at step {step}; loss {one[0]:.4f} .. {one[-1]:.4f}")
        self.assertLess(worst, TOLERANCE, f"step {step}")
        self.assertGreater(len(apart), STEPS - 3)

    def test_of_direct_training(self):
        self.assert_same_curve("direct")

    def test_of_training_with_gates(self):
        self.assert_same_curve("l0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
