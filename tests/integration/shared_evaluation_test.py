#!/usr/bin/env python3
"""Checks that the number of ranks does not change scores: two ranks share an evaluation that one does alone."""

import json
import unittest

from harness import job_file
from harness.program_test import ProgramTest

TOLERANCE = 1e-6


class SharedEvaluationTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.questions = self.folder / "questions.jsonl"
        with open(self.questions, "w") as file:
            for number in range(23):
                choices = [f"{number + other} apples" for other in range(2 + number % 3)]
                file.write(json.dumps({"context": "She had " + "many " * number, "choices": choices, "label": 1}) + "\n")

    def evaluate(self, ranks):
        name = f"ranks-{ranks}"
        job = job_file.small_job(
            self.results / name, name=name, finetune={"method": "none"},
            evaluation={**job_file.evaluation(windows=83), "ranks": ranks,
                        "multiple_choice": [{"name": "apples", "data": str(self.questions)}],
                        "latency": {"batch_sizes": [1], "context_lengths": [16], "new_tokens": 4}})  # fmt: skip
        submitted = self.cluster.submit(self.write_job(job, f"{name}.yaml"))
        finished = self.cluster.wait_for_end(submitted, patience_s=300)
        self.assert_succeeded(finished)
        tasks = {task["name"].split("/")[-1]: task for task in finished["tasks"]}
        self.assertEqual(tasks["evaluate-result"].get("ranks", 1), ranks)
        return json.loads((self.results / name / "regroup/report.json").read_text())

    def scores(self, subject):
        choices = {entry["name"]: entry for entry in subject["multiple_choice"]}["apples"]
        return [subject["perplexity"], subject["standard_error"], choices["accuracy"], choices["accuracy_per_byte"]]

    def test_one_rank_and_two_agree(self):
        one, two = self.evaluate(1), self.evaluate(2)
        for subject in ("source", "averaged", "result"):
            for a, b in zip(self.scores(one[subject]), self.scores(two[subject]), strict=True):
                self.assertLessEqual(abs(a - b), TOLERANCE * max(abs(a), abs(b)), (subject, a, b))
            self.assertEqual(one[subject]["windows"], two[subject]["windows"])
        self.assertEqual(one["result"]["agreement"]["positions"], two["result"]["agreement"]["positions"])
        for figure in ("mean_kl", "same_top_token"):
            a, b = (report["result"]["agreement"][figure] for report in (one, two))
            self.assertAlmostEqual(a, b, delta=TOLERANCE * max(a, b))
        self.assertEqual(len(two["result"]["latency"]["grid"]), 1)
        print(f"perplexity {one['result']['perplexity']:.9f} by one rank, {two['result']['perplexity']:.9f} by two")


if __name__ == "__main__":
    unittest.main(verbosity=2)
