#!/usr/bin/env python3
"""Data files as people have them: every documented form gives a job that ends well, any other form one clear sentence."""

import json
import unittest

from harness import cluster, job_file, places
from harness.program_test import ProgramTest

JOB_FAILED = 1


def write_lines(path, objects):
    path.write_text("".join(json.dumps(line) + "\n" for line in objects))
    return path


class DataTest(ProgramTest):
    def run_alone(self, job):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")

    def succeed(self, job):
        done = self.run_alone(job)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def refuse(self, job, *fragments):
        """Runs the job; `inspect` must refuse it with one line that holds all fragments."""
        done = self.run_alone(job)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, JOB_FAILED, text)
        lines = [line for line in text.splitlines() if all(fragment in line for fragment in fragments)]
        self.assertTrue(lines, f"no line says {fragments}:\n{text}")
        self.assertIn("failed in inspect", text)
        self.assert_nothing_published()
        return text


class AnswersTest(DataTest):
    def job_on(self, data, **changes):
        return job_file.small_job(self.output, finetune={"method": "direct", "loss": "bild", "data": str(data),
                                                         "sequence_length": 64, "steps": 4, **changes})

    def answers(self):
        return write_lines(self.folder / "answers.jsonl",
                           [{"prompt": f"Question {i}: ", "completion": f"the answer is {i}."} for i in range(64)])

    def test_prompts_and_completions(self):
        self.succeed(self.job_on(self.answers()))
        self.assertTrue((self.output / "model.safetensors").exists())

    def test_layers_learn_from_the_calibration_text(self):
        job = self.job_on(self.answers())
        job["layerwise"] = {"method": "distill", "sequences": 32, "sequence_length": 64, "passes": 1}
        self.succeed(job)

    def test_texts_where_answers_are_asked_for(self):
        self.refuse(self.job_on(places.TRAINING_TEXT), "finetune.data", f"{places.TRAINING_TEXT}:1", "\"completion\"")

    def test_answers_where_texts_are_asked_for(self):
        data = self.answers()
        self.refuse(self.job_on(data, loss="kl"), "finetune.data", f"{data}:1", "finetune.loss: bild")


if __name__ == "__main__":
    unittest.main()
