#!/usr/bin/env python3
"""Tokenizers and text that a job cannot use: inspect, plan and run refuse them alike, before any work is done."""

import json
import shutil
import unittest

from harness import cluster, job_file, places
from harness.program_test import ProgramTest

JOB_FAILED, REFUSED = 1, 2


class TokenizerRefusalsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = shutil.copytree(places.MODEL, self.folder / "source")
        self.vocabulary = json.loads((self.source / "config.json").read_text())["vocab_size"]

    def change(self, file, change):
        tree = json.loads((self.source / file).read_text()) if (self.source / file).exists() else {}
        change(tree)
        (self.source / file).write_text(json.dumps(tree))

    def job(self, **changes):
        return self.write_job(job_file.small_job(self.output, source={"checkpoint": str(self.source)}, **changes))

    def text(self, *lines):
        """Writes a data file that has these lines after enough others."""
        file = self.folder / "text.jsonl"
        usual = places.TRAINING_TEXT.read_text().splitlines()[:60]
        file.write_text("\n".join([*usual, *(json.dumps(line) for line in lines)]) + "\n")
        return str(file)

    def check(self, said, code, *fragments):
        output = said.stdout + said.stderr
        self.assertEqual(said.returncode, code, output)
        self.assertTrue(any(all(fragment in line for fragment in fragments) for line in output.splitlines()),
                        f"no line says {fragments}:\n{output}")  # fmt: skip
        self.assertNotIn("defect of Regroup", output)

    def check_run_refuses(self, job, *fragments):
        self.check(cluster.run_regroup("run", job, "--work-dir", self.folder / "work"), JOB_FAILED, *fragments)
        work = self.folder / "work"
        self.assertEqual([path.name for path in work.glob("**/*") if path.name.startswith("calibrate")], [])

    def check_all_refuse(self, job, *fragments):
        self.check(cluster.run_regroup("inspect", self.source), REFUSED, *fragments)
        self.check(cluster.run_regroup("plan", job, "--flops-per-second", "1e12"), REFUSED, "source.checkpoint", *fragments)
        self.check_run_refuses(job, "source.checkpoint", *fragments)

    def test_a_model_that_is_not_supported(self):
        self.change("tokenizer.json", lambda tree: tree.update(model={"type": "WordPiece", "vocab": {"a": 0}}))
        self.check_all_refuse(self.job(), "tokenizer.json", "WordPiece", "use a checkpoint")

    def test_a_folder_without_tokenizer(self):
        (self.source / "tokenizer.json").unlink()
        self.check_all_refuse(self.job(), str(self.source), "no tokenizer", "save_pretrained")

    def test_an_end_token_beyond_the_vocabulary(self):
        self.change("special_tokens_map.json", lambda tree: tree.update(eos_token="<|im_end|>"))
        self.check_all_refuse(self.job(), str(self.source), "<|im_end|>", f"id {self.vocabulary}", f"vocab_size {self.vocabulary}",
                              "resize_token_embeddings")  # fmt: skip

    def add_token(self):
        self.change("added_tokens.json", lambda tree: tree.update({"<|im_start|>": self.vocabulary}))

    def test_a_token_beyond_the_vocabulary_is_named_and_does_no_harm_unless_it_is_used(self):
        self.add_token()
        job = self.write_job(job_file.aligned_only(self.output, source={"checkpoint": str(self.source)}))
        for command in (["inspect", self.source], ["plan", job, "--flops-per-second", "1e12"]):
            said = cluster.run_regroup(*command, "--json")
            self.assertEqual(said.returncode, 0, said.stderr)
            note = next(note for note in json.loads(said.stdout)["notes"] if "tokenizer" in note)
            self.assertIn(f"1 token more than the model's vocab_size of {self.vocabulary}: token \"<|im_start|>\"", note)
        done = cluster.run_regroup("run", job, "--work-dir", self.folder / "work")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_text_with_a_token_beyond_the_vocabulary(self):
        self.add_token()
        data = self.text({"text": "a <|im_start|> b"})
        usual = {"data": str(places.TRAINING_TEXT)}
        fragments = ("text.jsonl", "text 61", "<|im_start|>", f"id {self.vocabulary}", f"vocab_size {self.vocabulary}")
        self.check_run_refuses(self.job(calibration={"data": data, "sequences": 1000}, finetune=usual), "calibration.data", *fragments)
        self.check_run_refuses(self.job(calibration=usual, finetune={"data": data}), "finetune.data", *fragments)
        evaluation = {"perplexity": {"data": data, "sequence_length": 64}}
        self.check_run_refuses(self.job(evaluation=evaluation), "evaluation.perplexity.data", *fragments)

    def test_questions_with_a_token_beyond_the_vocabulary(self):
        self.add_token()
        file = self.folder / "questions.jsonl"
        file.write_text(json.dumps({"context": "The", "choices": [" cat", " <|im_start|>"], "label": 0}) + "\n")
        evaluation = {"multiple_choice": [{"name": "set", "data": str(file)}]}
        self.check_run_refuses(self.job(evaluation=evaluation), "evaluation.multiple_choice[0].data", "questions.jsonl", "item 1",
                               "<|im_start|>")  # fmt: skip

    def test_a_plan_reads_the_data_as_a_run_does(self):
        data = self.folder / "prompts.jsonl"
        data.write_text('{"prompt": "no text"}\n')
        for path, fragment in ((self.folder / "absent.jsonl", "absent.jsonl"), (data, '"text"')):
            job = self.job(finetune={"data": str(path)})
            planned = cluster.run_regroup("plan", job, "--flops-per-second", "1e12")
            self.check(planned, REFUSED, "finetune.data", fragment)
            self.check_run_refuses(job, "finetune.data", fragment)


if __name__ == "__main__":
    unittest.main(verbosity=2)
