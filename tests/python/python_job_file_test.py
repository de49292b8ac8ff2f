#!/usr/bin/env python3
"""The client reads job files as strictly as the command: both refuse the same ones at the same place."""

import json
import pathlib
import re
import shutil
import tempfile
import unittest

import regroup
from google.protobuf import json_format
from regroup.job_file import read_job

from harness import cluster, places

# Each text with the key or the words that the error must name; the command says where.
REFUSED = {
    "target: {kv_heds: 2}": "kv_heds",
    "source: {checkpont: model}": "checkpont",
    "finetune: {kv_heads: 2}": "kv_heads",
    "nam: x": "nam",
    "target: {kv_heads: two}": "target.kv_heads",
    "target: {kv_heads: '2'}": "without quotes",
    "target: {kv_heads: 2.5}": "target.kv_heads",
    "target: {kv_heads: 99999999999}": "target.kv_heads",
    "target: [2]": "target",
    "target:": "target",
    "labels: [a, b]": "labels",
    "labels: {a: [b]}": "labels.a",
    "sweep: {kv_heads: 2}": "sweep.kv_heads",
    "sweep: {kv_heads: [2, x]}": "sweep.kv_heads[1]",
    "evaluation:\n  multiple_choice:\n    - {name: a, data: b}\n    - {name: [c]}": "evaluation.multiple_choice[1].name",
    "refine: {outputs: yes}": "refine.outputs",
    "gates: {max_perplexity_ratio: .inf}": "gates.max_perplexity_ratio",
    "gates: {max_perplexity_ratio: 1e999}": "gates.max_perplexity_ratio",
    "finetune: {learning_rate: 0x10}": "finetune.learning_rate",
    "source: {checkpoint: ~/model}": "source.checkpoint",
    "name: a\nname: b": "duplicate key 'name'",
    "name: &x a": "anchors",
    "name: a\nlabels: {b: *x}": "aliases",
    "name: !!str a": "tags",
    "name: a\n---\nname: b": "one document",
    "- a": "a job file is a mapping",
    "just words": "a job file is a mapping",
    "name: a\x07": "control character 0x07",
    "labels: " + "{a: " * 17 + "b" + "}" * 17: "levels of nesting",
    "? {a: b}\n: c": "a key must be plain text",
}
# Texts on which YAML's versions and libraries could differ.
ACCEPTED = (
    "name: on\nlabels: {yes: no, 1: 2, t: 12:30, d: 2026-01-01, o: 0o17, s: 'x'}",
    "name: 007\nfinetune: {steps: 007, seed: -0, learning_rate: 1.e-3}",
    "name: +5\nfinetune: {steps: +5, learning_rate: +.5, lora_alpha: 1E+2}",
    "name: \"a\\tb\"\nlabels:\n  text: |\n    two\n    lines\n  folded: >-\n    one\n    line",
    "calibration: {data: [a.jsonl, ../b.jsonl, /c.jsonl]}\noutput: {checkpoint: x/./y/}",
    "evaluation: {perplexity: {data: v.jsonl}, multiple_choice: [{data: m.jsonl}, {}]}\nfinetune: {}",
    "evaluation: {latency: {batch_sizes: [1, 8]}, answers: {prompts: [Hi, 3, 'a: b']}}\nrefine: {outputs: true}",
    "# nothing\n",
    "",
)
# Keys without which a job is invalid, where a text does not say them.
REST = {"name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2}, "finetune": {"method": "none"},
        "calibration": {"data": "/text.jsonl"}, "output": {"checkpoint": "/out"}}  # fmt: skip


class PythonJobFile(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-job-file-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "job.yaml"

    def command_says(self, text):
        """Returns the command's error for a job file; it reads the file before it looks for a coordinator."""
        self.path.write_text(text)
        done = cluster.run_regroup("submit", self.path, coordinator="127.0.0.1:1")
        return done.returncode, done.stderr

    def test_what_the_command_refuses_is_refused_at_the_same_place(self):
        for text, name in REFUSED.items():
            with self.subTest(text):
                status, shown = self.command_says(text)
                self.assertEqual(status, 2, shown)
                with self.assertRaises(regroup.InvalidRequest) as raised:
                    read_job(self.path)
                self.assertIn(name, str(raised.exception))
                place = re.compile(r"job\.yaml:(\d+:\d+):")
                self.assertEqual(place.findall(str(raised.exception)), place.findall(shown), f"{shown}{raised.exception}")

    def test_the_same_mistakes_in_values_are_refused_by_name(self):
        for values, name in (({"target": {"kv_heds": 2}}, "kv_heds"), ({"target": {"kv_heads": "2"}}, "without quotes"),
                             ({"target": {"kv_heads": 2.5}}, "target.kv_heads"), ({"target": None}, "target"),
                             ({"refine": {"outputs": 1}}, "refine.outputs"), ({1: 2}, "a key must be a string"),
                             ({"name": {1, 2}}, "set"), ({"gates": {"max_perplexity_ratio": float("nan")}}, "gates")):
            with self.subTest(values), self.assertRaisesRegex(regroup.InvalidRequest, re.escape(name)):
                read_job(values)
        endless = {}
        endless["target"] = endless
        with self.assertRaisesRegex(regroup.InvalidRequest, "levels"):
            read_job(endless)

    def test_all_mistakes_are_named_together(self):
        with self.assertRaises(regroup.InvalidRequest) as raised:
            read_job("nam: x\ntarget: {kv_heads: two}\n")
        self.assertEqual([violation.field for violation in raised.exception.field_violations], ["nam", "target.kv_heads"])

    def test_a_file_that_is_too_large_or_not_text_is_refused(self):
        self.path.write_text("# " + "x" * (1 << 20))
        with self.assertRaisesRegex(regroup.InvalidRequest, "bytes"):
            read_job(self.path)
        self.path.write_bytes(b"name: \xff\n")
        with self.assertRaisesRegex(regroup.InvalidRequest, "UTF-8"):
            read_job(self.path)

    def test_the_examples_are_read(self):
        examples = [*places.REPOSITORY.glob("deploy/examples/*.yaml"), places.REPOSITORY / "deploy/demo/job.yaml"]
        self.assertGreater(len(examples), 4)
        for path in examples:
            self.assertTrue(read_job(path).spec.name, path)
            self.assertEqual(read_job(path.read_text(), path.parent).spec, read_job(path).spec)

    def test_addresses_are_not_paths(self):
        spec = read_job({"source": {"checkpoint": "hf://org/name@main"}, "calibration": {"data": ["s3://a/b", "c"]},
                         "finetune": {"data": "https://host/x.jsonl"}}, self.folder).spec  # fmt: skip
        self.assertEqual((spec.source.checkpoint, spec.finetune.data), ("hf://org/name@main", "https://host/x.jsonl"))
        self.assertEqual(list(spec.calibration.data_files), ["s3://a/b", str(self.folder / "c")])


class PythonJobFileMeaning(unittest.TestCase):
    """Both readers understand the same job: a coordinator shows the one that the command sent."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-job-file-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.cluster = cluster.Cluster(cls.folder, workers=0)
        cls.addClassCleanup(cls.cluster.stop)

    def test_of_texts_on_which_libraries_could_differ(self):
        for text in ACCEPTED:
            given = set(re.findall(r"^(\w+):", text, re.MULTILINE))
            path = self.folder / "job.yaml"
            rest = "".join(f"\n{key}: {json.dumps(value)}" for key, value in REST.items() if key not in given)
            path.write_text(text + rest)
            spec = read_job(path).spec
            with self.subTest(text):
                done = self.cluster.regroup("submit", path, "--validate-only", "--json")
                if done.returncode == 0:
                    shown = json.loads(done.stdout)["spec"]
                    self.assertEqual(json_format.MessageToDict(spec, preserving_proto_field_name=True), shown)
                else:
                    # Both read it; the values are not allowed, as the checks of both sides say.
                    self.assertIn("is invalid", done.stdout)
                    with regroup.Client(self.cluster.address) as client, self.assertRaises(regroup.InvalidRequest) as raised:
                        client.submit(path, validate_only=True)
                    self.assertEqual(sorted(re.findall(r"job\.yaml:(\d+:\d+: [\w.\[\]]+)", str(raised.exception))),
                                     sorted(re.findall(r"job\.yaml:(\d+:\d+: [\w.\[\]]+)", done.stdout)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
