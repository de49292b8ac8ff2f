#!/usr/bin/env python3
"""The number of ranks, what they share, recomputation and the source of the teacher's states are not hyperparameters:
they leave the loss curve as it is. Training of attention alone within documents changes just that."""

import json
import unittest

from harness import job_file, places
from harness.program_test import ProgramTest

STEPS = 50
# The largest difference at a step, and the whole curve's, relative. Gates close in the order of their scores: two that are equal
# but for rounding may change places, which later steps keep. The size of a micro-batch does the same on a single rank.
AT_A_STEP = {"direct": 1e-4, "l0": 1e-2}
OF_THE_CURVE = {"direct": 1e-4, "l0": 1e-3}
# Before the gates move, student and teacher are one model, and the loss is the rounding of a sum over the vocabulary.
ROUNDING = 1e-6


class LossCurveTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)

    def losses(self, method, ranks, name=None, steps=STEPS, **options):
        finetune = {"method": method, "steps": steps, "batch_sequences": 4, "ranks": ranks, "precision": "float32",
                    "checkpoint_every_steps": 0} | options  # fmt: skip
        name = name or f"{method}-{ranks}"
        job = self.cluster.submit(
            self.write_job(job_file.small_job(self.results / name, name=name, finetune=finetune), f"{name}.yaml"))
        self.assert_succeeded(self.cluster.wait_for_end(job, patience_s=600))
        points = {step: value for _, step, value in self.cluster.metric(job, "loss")}
        self.assertEqual(sorted(points), list(range(1, steps + 1)))
        return [points[step] for step in sorted(points)]

    def assert_same_curve(self, method):
        one, two = self.losses(method, 1), self.losses(method, 2)
        apart = [(abs(a - b) / max(a, b), step) for step, (a, b) in enumerate(zip(one, two), 1) if max(a, b) > ROUNDING]
        worst, step = max(apart)
        whole = sum(abs(a - b) for a, b in zip(one, two)) / sum(one)
        print(f"{method}: largest relative difference {worst:.1e} at step {step}, of the curve {whole:.1e}; loss "
              f"{one[0]:.4f} .. {one[-1]:.4f}")
        self.assertLess(worst, AT_A_STEP[method], f"step {step}")
        self.assertLess(whole, OF_THE_CURVE[method])
        self.assertGreater(len(apart), STEPS - 3)

    def test_of_direct_training(self):
        self.assert_same_curve("direct")

    def test_of_training_with_gates(self):
        self.assert_same_curve("l0")

    def test_does_not_depend_on_recomputation_or_kept_teacher_states(self):
        plain = self.losses("l0", 2, "plain", steps=12)
        self.assertEqual(self.losses("l0", 2, "recomputed", steps=12, recompute="block"), plain)
        self.assertEqual(self.losses("l0", 2, "kept", steps=12, recompute="feed_forward", teacher="cache"), plain)
        self.assertEqual(len(list((self.folder / "work").glob("jobs/*/teacher-states/*.states"))), 1)

    def test_does_not_depend_on_what_the_ranks_share(self):
        """Two micro-batches a rank and step, whose gradients are summed in another order."""
        whole = self.losses("direct", 2, "whole", steps=12, shard="optimizer")
        sharded = self.losses("direct", 2, "sharded", steps=12, shard="gradients")
        for step, (one, other) in enumerate(zip(whole, sharded), 1):
            self.assertLess(abs(one - other), 1e-5 * one, f"step {step}")

    def test_of_attention_alone_within_documents(self):
        losses = self.losses("direct", 1, "attention", steps=20, train="attention", across_documents=False)
        self.assertLess(losses[-1], losses[0])
        source = self.tensors(places.MODEL)
        result = self.tensors(self.results / "attention")
        self.assertEqual(source.keys(), result.keys())
        for name, tensor in result.items():
            self.assertEqual(tensor == source[name], "self_attn" not in name, name)

    @staticmethod
    def tensors(folder):
        """Returns the shape and bytes of each tensor."""
        found = {}
        for file in folder.glob("*.safetensors"):
            content = file.read_bytes()
            start = 8 + int.from_bytes(content[:8], "little")
            for name, entry in json.loads(content[8:start]).items():
                if name != "__metadata__":
                    begin, end = entry["data_offsets"]
                    found[name] = entry["shape"], content[start + begin:start + end]
        return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
