"""Checks a whole job's report: report.json follows its schema, and report.html renders well on a phone and on paper."""

import json
import os
import re
import subprocess
import unittest

from harness import browser, job_file, json_schema, places
from harness.program_test import ProgramTest

SCHEMA = places.REPOSITORY / "trainer/report/report.schema.json"
PAGE = places.REPOSITORY / "trainer/report/README.md"
MOST_BYTES = 1 << 20
LAYERWISE = {"method": "distill", "sequences": 32, "sequence_length": 64, "layers_per_task": 3}
PHONE, DESKTOP = 390, 1280


def full_evaluation(choices):
    return {**job_file.evaluation(), "multiple_choice": [{"name": "words", "data": str(choices)}],
            "latency": {"batch_sizes": [1, 2], "context_lengths": [16, 48], "new_tokens": 4}}  # fmt: skip


def mean_of_pairs(layer, when):
    """Returns the mean over pairs of different heads and over keys and values, from the matrices of one layer."""
    heads = range(len(layer[f"key_similarity_{when}"]))
    entries = [layer[f"{what}_similarity_{when}"][i][j]
               for what in ("key", "value") for i in heads for j in heads if i != j]  # fmt: skip
    return sum(entries) / len(entries)


class ReportTest(ProgramTest):
    def run_job(self, job):
        done = subprocess.run([places.PROGRAMS / "regroup", "run", self.write_job(job), "--work-dir", self.folder / "work"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def write_choices(self):
        file = self.folder / "words.jsonl"
        with open(places.HELD_OUT_TEXT, encoding="utf-8") as texts, open(file, "w", encoding="utf-8") as choices:
            for line, _ in zip(texts, range(12)):
                words = json.loads(line)["text"].split()[:12]
                item = {"context": " ".join(words[:8]), "choices": [words[8], words[1]], "label": 0}
                choices.write(json.dumps(item) + "\n")
        return file

    def check_json(self, folder):
        with open(folder / "report.json", encoding="utf-8") as file:
            report = json.load(file)
        with open(SCHEMA, encoding="utf-8") as file:
            schema = json.load(file)
        self.assertEqual(json_schema.errors(report, schema), [])
        return report

    def check_page(self, folder):
        page = folder / "report.html"
        self.assertLess(page.stat().st_size, MOST_BYTES)
        if browser.find() is None:
            self.skipTest("no Chromium: report.json was checked, the page was not")
        keep = os.environ.get("REGROUP_TEST_PICTURES")
        with browser.Browser() as chromium:
            for width, dark in ((PHONE, False), (PHONE, True), (DESKTOP, False), (DESKTOP, True)):
                chromium.open(page.as_uri(), width, 900, dark=dark, mobile=width == PHONE)
                where = f"{width} px, {'dark' if dark else 'light'}"
                self.assertEqual(chromium.complaints, [], where)
                outside = [url for url in chromium.requests if not url.startswith(("data:", page.as_uri()))]
                self.assertEqual(outside, [], where)
                wide = "document.documentElement.scrollWidth"
                self.assertLessEqual(chromium.evaluate(wide), width, where)
                self.assertGreater(chromium.evaluate("document.querySelectorAll('section').length"), 2)
                pictures = "[...document.images].every(one => one.complete && one.naturalWidth > 0)"
                self.assertTrue(chromium.evaluate(pictures), where)
                if keep:
                    chromium.screenshot(f"{keep}/{self._testMethodName}-{width}{'-dark' if dark else ''}.png")
            chromium.print_to(f"{keep or self.folder}/{self._testMethodName}.pdf")

    def follow_commands_of_readme(self, folder):
        commands = re.findall(r"^    regroup (report OUTPUT.*?)(?: +#.*)?$", PAGE.read_text(), re.MULTILINE)
        self.assertEqual(commands, ["report OUTPUT", "report OUTPUT --open"])
        opened = self.folder / "opened"
        opener = self.folder / "browser"
        opener.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {opened}\n')
        opener.chmod(0o755)
        for command in commands:
            done = subprocess.run([places.PROGRAMS / "regroup", *command.replace("OUTPUT", str(folder)).split()],
                                  env={**os.environ, "BROWSER": str(opener)}, capture_output=True, text=True, timeout=60)  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("perplexity", done.stdout)
        self.assertIn("report.html", opened.read_text())

    def test_a_conversion(self):
        job = job_file.small_job(self.output, evaluation=full_evaluation(self.write_choices()), layerwise=LAYERWISE,
                                 finetune={"evaluate_every_steps": 5})
        self.run_job(job)
        report = self.check_json(self.output / "regroup")
        self.assertEqual(report["source"]["kv_heads"], 8)
        self.assertEqual(len(report["result"]["latency"]["grid"]), 4)
        self.assertEqual(len(report["curves"]["loss"]), 12)
        self.assertEqual(report["curves"]["loss"][0][0], 1)
        measured = report["curves"]["validation_perplexity"]
        self.assertEqual([step for step, _ in measured], [5, 10, 12])
        self.assertAlmostEqual(measured[-1][1] / report["result"]["perplexity"], 1, delta=0.01)
        seconds = sum(second for _, second in report["curves"]["step_seconds"])
        self.assertAlmostEqual(report["training"]["useful_seconds"], seconds, delta=0.01 * seconds)
        self.assertLess(report["training"]["useful_seconds"], report["training"]["elapsed_seconds"])
        self.assertEqual(report["result"]["multiple_choice"][0]["items"], 12)
        self.assertEqual(len(report["summary"]["figures"]), 4)
        self.assertLess(report["layerwise"]["perplexity"], report["aligned"]["perplexity"])
        for layer in report["layers"]:
            self.assertLess(layer["error_after"], layer["error_before"], layer["name"])
        stages = [stage["name"] for stage in report["stages"]]
        self.assertEqual(stages, ["inspect", "calibrate", "align", "record", "layerwise", "finetune", "export", "evaluate"])
        self.assertIn("Perplexity during training", (self.output / "regroup" / "report.html").read_text())
        self.follow_commands_of_readme(self.output)
        self.check_page(self.output / "regroup")

    def test_a_training_that_ends_early(self):
        # At this learning rate the student only gets worse.
        self.run_job(job_file.small_job(self.output, evaluation=job_file.evaluation(), finetune={
            "method": "direct", "steps": 200, "learning_rate": 0.5, "evaluate_every_steps": 2, "stop_when_no_better": 3}))
        report = self.check_json(self.output / "regroup")
        measured = report["curves"]["validation_perplexity"]
        best = min(measured, key=lambda point: point[1])[0]
        self.assertEqual([step for step, _ in measured], list(range(2, best + 6 + 1, 2)))
        self.assertEqual(report["training"]["ended_early_after_step"], best + 6)
        self.assertEqual(report["curves"]["loss"][-1][0], best + 6)
        self.assertIn(f"ended early, after step {best + 6}", (self.output / "regroup" / "report.html").read_text())

    def test_a_sweep(self):
        job = job_file.small_job(self.output, evaluation=job_file.evaluation(), layerwise=LAYERWISE,
                                 sweep={"kv_heads": [4, 2], "alignment": ["none", "procrustes"], "finetune": ["none"],
                                        "layerwise": ["none", "distill"]})  # fmt: skip
        for key in ("output", "target"):
            del job[key]
        self.run_job(job)
        [folder] = (self.folder / "work" / "jobs").glob("small*/report/*/out")
        report = self.check_json(folder)
        self.assertEqual([row["layerwise"] for row in report["rows"]].count("distill"), 4)
        self.assertEqual(len(report["rows"]), 8)
        self.assertTrue(all(row["result"]["perplexity_ratio"]["low"] > 0.5 for row in report["rows"]))
        for row in report["rows"]:
            distills = row["layerwise"] == "distill"
            self.assertEqual(set(row["seconds"]), {"align", "evaluate"} | ({"layerwise"} if distills else set()))
            for layer in row["layers"]:
                self.assertEqual("error_after" in layer, distills)
                for when in ("before", "after"):
                    self.assertAlmostEqual(layer[f"overall_similarity_{when}"], mean_of_pairs(layer, when), delta=1e-4)
        self.check_page(folder)


if __name__ == "__main__":
    unittest.main()
