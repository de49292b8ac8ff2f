#!/usr/bin/env python3
"""Conversations as data: a job reads them by the checkpoint's chat template, or refuses the line with one clear sentence."""

import json
import shutil
import unittest

from harness import cluster, job_file, places
from harness.data_file import write_lines, write_parquet
from harness.program_test import ProgramTest, digest_of

REFUSED = 1
# The tokens that a text of the demonstration's tokenizer has at its ends.
PLAIN = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}"
TURNS = """{%- for m in messages %}
    {%- if m.role not in ['user', 'assistant'] %}
        {{- raise_exception('Unknown role ' ~ m.role) }}
    {%- endif %}
    {{- '<' ~ m.role ~ '> ' ~ m.content | trim ~ eos_token }}
{%- endfor %}
"""


class ChatDataTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = shutil.copytree(places.MODEL, self.folder / "source")
        self.texts = [json.loads(line)["text"] for line in places.TRAINING_TEXT.read_text().splitlines()[:150]]

    def use(self, template):
        (self.source / "chat_template.jinja").write_text(template)

    def conversations(self, name="chats.jsonl"):
        return write_lines(self.folder / name, [{"messages": [{"role": "user", "content": text}]} for text in self.texts])

    def run_job(self, job):
        job["source"] = {"checkpoint": str(self.source)}
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")

    def aligned(self, name, data, **changes):
        """Returns the digest of the result of a job that merges heads by all of this data."""
        done = self.run_job(job_file.small_job(
            self.results / name, name=name, finetune={"method": "none"},
            calibration={"data": str(data), "sequences": 300, "sequence_length": 64, **changes}))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return digest_of(self.results / name / "model.safetensors")

    def refuse(self, data, *fragments, **changes):
        """Runs and plans a job; both must refuse it with one line that holds all fragments."""
        job = job_file.small_job(self.output, finetune={"method": "direct", "data": str(data), **changes})
        done = self.run_job(job)
        self.assertEqual(done.returncode, REFUSED, done.stdout + done.stderr)
        text = done.stdout + done.stderr
        self.assertTrue([line for line in text.splitlines() if all(part in line for part in fragments)], f"{fragments}:\n{text}")
        self.assertIn("failed in inspect", text)
        self.assert_nothing_published()

    def test_a_rendered_conversation_has_the_tokens_of_its_text(self):
        self.use(PLAIN)
        texts = write_lines(self.folder / "texts.jsonl", [{"text": text} for text in self.texts])
        expected = self.aligned("texts", texts)
        self.assertEqual(expected, self.aligned("chats", self.conversations()))
        parquet = write_parquet(self.folder / "chats.parquet", self.conversations().read_bytes())
        self.assertEqual(expected, self.aligned("parquet", parquet))
        self.assertEqual(expected, self.aligned("field", self.conversations(), field="messages"))
        mixed = write_lines(self.folder / "mixed.jsonl", [
            {"text": text} if index % 2 else {"conversations": [{"from": "human", "value": text}]}
            for index, text in enumerate(self.texts)])
        self.assertEqual(expected, self.aligned("mixed", mixed))

    def test_another_template_makes_other_tokens_of_the_same_data(self):
        self.use(PLAIN)
        data = self.conversations()
        plain = self.aligned("plain", data)
        self.use(TURNS)
        turns = self.aligned("turns", data)
        self.assertNotEqual(plain, turns)
        (self.source / "chat_template.jinja").unlink()
        config = json.loads((self.source / "tokenizer_config.json").read_text())
        (self.source / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TURNS}))
        self.assertEqual(turns, self.aligned("config", data))

    def test_every_stage_reads_conversations(self):
        self.use(TURNS)
        data = str(self.conversations())
        done = self.run_job(job_file.small_job(
            self.output, calibration={"data": data}, finetune={"method": "direct", "data": data, "steps": 4},
            layerwise={"method": "distill", "data": data, "sequences": 32, "sequence_length": 64, "passes": 1},
            evaluation={"perplexity": {"data": data, "sequence_length": 64, "max_windows": 8}}))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual((self.output / "chat_template.jinja").read_text(), TURNS)

    def test_a_folder_without_a_template(self):
        data = self.conversations()
        self.refuse(data, f"finetune.data: {data}:1: ", f"{self.source} has no chat template", "chat_template.jinja")

    def test_a_conversation_in_the_middle_that_the_template_refuses(self):
        self.use(TURNS)
        data = self.conversations()
        with data.open("a") as file:
            file.write(json.dumps({"messages": [{"role": "critic", "content": "no"}]}) + "\n")
        self.refuse(data, f"finetune.data: {data}:151: ", "the chat template refuses the conversation: Unknown role critic")

    def test_a_template_that_is_not_supported_or_needs_the_date(self):
        data = self.conversations()
        self.use("a\n{% include 'b' %}")
        self.refuse(data, f"{data}:1: ", f"{self.source}/chat_template.jinja:2: ", "the tag 'include'")
        self.use("{% if not day is defined %}{% set day = strftime_now('%Y') %}{% endif %}{{ day }}")
        self.refuse(data, f"{data}:1: ", "depend on the day", "\"chat_template_kwargs\": {\"day\": \"...\"}")

    def test_answers_are_asked_for(self):
        self.use(TURNS)
        data = self.conversations()
        self.refuse(data, f"finetune.data: {data}:1: ", "finetune.loss: bild", "loss: kl", loss="bild")


if __name__ == "__main__":
    unittest.main()
