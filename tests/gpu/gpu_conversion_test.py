#!/usr/bin/env python3
"""Compares whole conversions of the demonstration's model with `device: cuda` with the same on the CPU: the figures
must be equal before training and nearly equal after it."""

import json
import unittest

import gpus
from harness import cluster, job_file, places
from harness.program_test import ProgramTest

STEPS = 24
# Largest relative difference of a perplexity: sums in another order, and after training what they lead to.
BEFORE, AFTER = 1e-3, 2e-2


class GpuConversionTest(ProgramTest):
    def convert(self, device, method):
        """The report of one conversion."""
        name = f"{device}-{method}"
        job = job_file.small_job(
            self.results / name, name=name, resources={"device": device},
            calibration={"sequences": 32, "sequence_length": 128}, alignment={"method": "principal"},
            finetune={"method": method, "steps": STEPS, "batch_sequences": 4, "sequence_length": 128, "ranks": 1,
                      "checkpoint_every_steps": 8},
            evaluation={"perplexity": {"data": str(places.HELD_OUT_TEXT), "sequence_length": 128, "max_windows": 32},
                        "latency": {"batch_sizes": [1], "context_lengths": [64], "new_tokens": 8}})
        done = cluster.run_regroup("run", self.write_job(job, f"{name}.yaml"), "--work-dir", self.folder / f"work-{name}")
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        return json.loads((self.results / name / "regroup/report.json").read_text())

    def assert_same_perplexity(self, ours, theirs, tolerance):
        self.assertLess(abs(ours - theirs) / theirs, tolerance, f"{ours} and {theirs}")

    def test_it_computes_what_the_cpu_computes(self):
        for method, tolerance in (("none", BEFORE), ("direct", AFTER), ("l0", AFTER)):
            with self.subTest(method):
                gpu, cpu = self.convert("cuda", method), self.convert("cpu", method)
                self.assert_same_perplexity(gpu["source"]["perplexity"], cpu["source"]["perplexity"], BEFORE)
                self.assert_same_perplexity(gpu["result"]["perplexity"], cpu["result"]["perplexity"], tolerance)


if __name__ == "__main__":
    gpus.skip_without()
    unittest.main(verbosity=2)
