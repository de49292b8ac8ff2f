#!/usr/bin/env python3
"""Tests `regroup init`: the job file that it writes converts the demonstration's model; nothing is overwritten; questions are
asked on a terminal only, and never have to be answered."""

import json
import os
import shutil
import unittest

from harness import cluster, on_terminal, places
from harness.program_test import ProgramTest


class InitTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.file = self.folder / "job.yaml"
        self.data = self.folder / "data"
        self.data.mkdir()
        shutil.copy(places.TRAINING_TEXT, self.data)

    def init(self, *arguments, status=0):
        done = cluster.run_regroup("init", places.MODEL, self.data, "-o", self.file, *arguments)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def plan(self):
        done = cluster.run_regroup("plan", self.file, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)


class JobFile(InitTest):
    def test_converts_the_model_as_it_is(self):
        # A part of the text, so that the conversion takes seconds.
        for source, lines in ((places.TRAINING_TEXT, 300), (places.HELD_OUT_TEXT, 30)):
            text = source.read_text().splitlines(keepends=True)
            (self.data / source.name).write_text("".join(text[:lines]))
        self.init("--steps", 8)
        ran = cluster.run_regroup("run", self.file, "--work-dir", self.folder / "work", patience_s=900)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        result = self.folder / "model-gqa2"
        self.assertEqual(json.loads((result / "config.json").read_text())["num_key_value_heads"], 2)
        report = json.loads((result / "regroup/report.json").read_text())
        # Averaged heads have 15 times the source's perplexity (deploy/demo/README.md).
        self.assertLess(report["result"]["perplexity"], 0.25 * report["averaged"]["perplexity"])

    def test_plans_what_the_options_say(self):
        output = self.results / "elsewhere"
        self.init("--kv-heads", 4, "--steps", 7, "--output", output)
        # Paths below the job file's folder are relative to it.
        self.assertIn("checkpoint: results/elsewhere\n", self.file.read_text())
        self.assertEqual(self.plan()["kv_bytes_per_token"], {"source": 4096, "result": 2048})
        # 7 steps of 8 sequences of 256 tokens, the model's maximum.
        self.assertEqual(self.plan()["tokens"]["training"], 7 * 8 * 256)

    def test_json_has_the_job_and_the_file(self):
        answer = json.loads(self.init("--json").stdout)
        self.assertEqual(answer["job_file"], str(self.file))
        self.assertEqual(answer["job"]["target"]["kv_heads"], 2)
        self.assertNotIn("evaluation", answer["job"])
        self.assertIn("# evaluation:", self.file.read_text())


class Refusals(InitTest):
    def test_a_job_file_is_never_overwritten(self):
        for existing in ("name: mine\n", ""):
            self.file.write_text(existing)
            self.assertIn("not overwritten", self.init(status=2).stderr)
            self.assertEqual(self.file.read_text(), existing)
        self.file.unlink()
        self.file.symlink_to(self.folder / "nothing")
        self.init(status=2)
        self.assertFalse((self.folder / "nothing").exists())

    def test_what_cannot_become_a_job_writes_nothing(self):
        self.assertIn("8, 4, 2, 1", self.init("--kv-heads", 3, status=2).stderr)
        for checkpoint, data, message in ((self.folder / "none", self.data, "none"),
                                          (places.MODEL, self.folder / "none", "does not exist"),
                                          ("hf://org/model", self.data, "download it")):
            done = cluster.run_regroup("init", checkpoint, data, "-o", self.file)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(message, done.stderr)
        self.assertFalse(self.file.exists())


class Questions(InitTest):
    def start(self, *arguments):
        command = [places.PROGRAMS / "regroup", "init", places.MODEL, self.data, "-o", self.file, *arguments]
        screen = on_terminal.Screen(command, 120, 24, {"REGROUP_TEST": self.folder, "TERM": os.environ.get("TERM", "xterm")})
        self.addCleanup(screen.close)
        return screen

    def test_take_answers_and_ask_again_after_a_wrong_one(self):
        screen = self.start()
        screen.wait_for("KV heads of the result, of 8 (8, 4, 2, 1) [2]:")
        screen.press("3", "Enter")
        screen.wait_for("the model can be converted to 8, 4, 2, 1 KV heads")
        screen.press("4", "Enter")
        screen.wait_for("Steps of training the whole model [200]:")
        screen.press("9", "Enter")
        screen.wait_for("Folder of the result [model-gqa4]:")
        screen.press(str(self.results / "answered"), "Enter")
        screen.wait_for("after: 0")
        self.assertEqual(self.plan()["tokens"]["training"], 9 * 8 * 256)
        self.assertIn("answered", self.file.read_text())

    def test_take_defaults_for_enter_and_at_the_end_of_the_input(self):
        screen = self.start()
        screen.wait_for("KV heads")
        screen.press("Enter")
        screen.wait_for("Steps")
        screen.press("C-d")
        screen.wait_for("after: 0")
        self.assertEqual(self.plan()["kv_bytes_per_token"]["result"], 1024)

    def test_are_not_asked_with_yes_or_for_what_an_option_says(self):
        self.start("--yes").wait_for("after: 0")
        self.file.unlink()
        screen = self.start("--kv-heads", "2", "--steps", "3")
        self.assertNotIn("KV heads of the result", screen.wait_for("Folder of the result"))
        screen.press("Enter")
        screen.wait_for("after: 0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
