#!/usr/bin/env python3
"""evaluation.answers and evaluation.needle: source and result answer the job's prompts, as texts or by the chat template, and
look for facts in their context; the report shows both."""

import json
import shutil
import unittest

from harness import cluster, job_file, json_schema, places
from harness.program_test import ProgramTest

REFUSED = 1
TEMPLATE = """{%- for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}{{ ' Lily' }}{% endif %}"""


class AnswersTest(ProgramTest):
    def run_job(self, name, source=places.MODEL, prompts=("Once upon a time", "The cat"), new_tokens=12, **changes):
        self.output = self.results / name
        answers = {"prompts": list(prompts), "new_tokens": new_tokens}
        job = job_file.small_job(self.output, name=name, source={"checkpoint": str(source)}, finetune={"method": "none"},
                                 evaluation={"answers": answers}, **changes)
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")

    def report_of(self, name, **changes):
        done = self.run_job(name, **changes)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        report = json.loads((self.output / "regroup" / "report.json").read_text())
        schema = json.loads((places.REPOSITORY / "trainer/report/report.schema.json").read_text())
        self.assertEqual(json_schema.errors(report, schema), [])
        return report

    def test_stand_side_by_side_in_the_report(self):
        report = self.report_of("texts")
        for subject in ("source", "result"):
            answers = report[subject]["answers"]
            self.assertEqual([answer["prompt"] for answer in answers], ["Once upon a time", "The cat"])
            for answer in answers:
                self.assertTrue(answer["ended"] or answer["tokens"] == 12, answer)
                self.assertTrue(answer["text"], answer)
        page = (self.output / "regroup" / "report.html").read_text()
        self.assertIn("<h2>Answers", page)
        self.assertIn("Once upon a time", page)

    def test_a_result_that_keeps_all_heads_says_the_same(self):
        report = self.report_of("same", target={"kv_heads": 8}, new_tokens=40)
        self.assertEqual(report["source"]["answers"], report["result"]["answers"])

    def test_a_chat_template_asks_for_the_answer(self):
        source = shutil.copytree(places.MODEL, self.folder / "source")
        (source / "chat_template.jinja").write_text("{{ bos_token }}" + TEMPLATE)
        by_template = self.report_of("chat", source=source, prompts=["One day,"])
        by_hand = self.report_of("text", prompts=["One day, Lily"])
        self.assertEqual(by_template["source"]["answers"][0]["text"], by_hand["source"]["answers"][0]["text"])

    def test_facts_in_the_context(self):
        self.output = self.results / "needle"
        text = places.TRAINING_TEXT.parent / "valid.jsonl"
        job = job_file.small_job(
            self.output, name="needle", finetune={"method": "none"}, target={"kv_heads": 8},
            evaluation={"perplexity": {"data": str(text), "sequence_length": 64, "max_windows": 16},
                        "needle": {"context_lengths": [100, 200], "items": 3}})
        done = cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        report = json.loads((self.output / "regroup" / "report.json").read_text())
        cells = report["source"]["needle"]
        self.assertEqual([(cell["context_length"], cell["depth"]) for cell in cells],
                         [(length, depth) for length in (100, 200) for depth in (0, 0.25, 0.5, 0.75, 1)])
        self.assertEqual(cells, report["result"]["needle"], "with all heads kept, the result is the source")
        page = (self.output / "regroup" / "report.html").read_text()
        self.assertIn("Facts in the context", page)
        self.assertIn(" of 3<", page)

    def test_what_cannot_be_answered_is_refused_first(self):
        source = shutil.copytree(places.MODEL, self.folder / "source")
        (source / "chat_template.jinja").write_text("{{ raise_exception('no chats here') }}")
        for name, changes, *fragments in (
                ("long", {"new_tokens": 4000}, "evaluation.answers.prompts[0]", "positions of the model"),
                ("template", {"source": source}, "evaluation.answers.prompts[0]", "no chats here")):
            with self.subTest(name):
                done = self.run_job(name, **changes)
                text = done.stdout + done.stderr
                self.assertEqual(done.returncode, REFUSED, text)
                self.assertTrue([line for line in text.splitlines() if all(part in line for part in fragments)], text)
                self.assertIn("failed in inspect", text)


if __name__ == "__main__":
    unittest.main()
