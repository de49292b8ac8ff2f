#!/usr/bin/env python3
"""SKILL.md: its commands do what it says, in its order; its exit status are those of the program; its JSON is that which is
printed."""

import json
import re
import unittest

from harness import cluster, places
from harness.program_test import ProgramTest

PAGE = (places.REPOSITORY / "SKILL.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    regroup (.*?)\s+#", PAGE, re.MULTILINE)
SHAPES = {name: json.loads(text) for name, text in re.findall(r"```json (\w+)\n(.*?)```", PAGE, re.DOTALL)}


def differences(example, real, place=""):
    """Yields where a real value lacks what the example has, or has it with another type."""
    if isinstance(example, dict):
        if not isinstance(real, dict):
            yield f"{place}: {type(real).__name__}"
            return
        for key, value in example.items():
            if key in real:
                yield from differences(value, real[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}: missing"
    elif isinstance(example, list):
        if not isinstance(real, list):
            yield f"{place}: {type(real).__name__}"
        elif example and real:
            yield from differences(example[0], real[0], f"{place}[0]")
    elif isinstance(example, bool) or isinstance(real, bool) or isinstance(example, str):
        if type(example) is not type(real):
            yield f"{place}: {type(real).__name__}"
    elif not isinstance(real, (int, float)):
        yield f"{place}: {type(real).__name__}"


class SkillPage(ProgramTest):
    def setUp(self):
        super().setUp()
        (self.folder / "MODEL").symlink_to(places.MODEL)
        data = self.folder / "DATA"
        data.mkdir()
        # A part of the text, so that the conversion takes seconds.
        for source, lines in ((places.TRAINING_TEXT, 200), (places.HELD_OUT_TEXT, 20)):
            (data / source.name).write_text("".join(source.read_text().splitlines(keepends=True)[:lines]))

    def run_here(self, command, status=0):
        done = cluster.run_regroup(*command.split(), cwd=self.folder, patience_s=900)
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def assert_shape(self, name, real):
        self.assertEqual(list(differences(SHAPES[name], real)), [], name)

    def test_its_five_commands_convert_a_model_and_print_the_json_of_the_page(self):
        self.assertEqual([command.split()[0] for command in COMMANDS], ["inspect", "init", "plan", "run", "report"])
        for command in COMMANDS:
            name = command.split()[0]
            # The page's 200 steps would take minutes here.
            extra = " --steps 4" if name == "init" else ""
            self.assert_shape(name, self.run_here(command + extra))
        self.assertTrue((self.folder / "RESULT/config.json").exists())

    def test_its_errors_and_failures_are_those_that_are_printed(self):
        self.run_here(COMMANDS[1])
        job = self.folder / "job.yaml"
        text = job.read_text()
        job.write_text(text.replace("kv_heads: 2", "kv_heads: 0"))
        self.assert_shape("error", self.run_here("plan job.yaml --json", 2))
        job.write_text(text.replace("DATA/train.jsonl", "DATA/gone.jsonl"))
        self.assert_shape("failed", self.run_here("run job.yaml --json", 1))
        self.assertIn("error", self.run_here("list --coordinator 127.0.0.1:1 --json", 3))

    def test_its_exit_status_are_those_of_the_program(self):
        header = (places.REPOSITORY / "services/cli/exit_code.h").read_text(encoding="utf-8")
        codes = set(re.findall(r"kExit\w+ = (\d+),", header))
        self.assertEqual(set(re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)), codes)
        self.assertEqual(len(codes), 4)

    def test_a_shape_that_differs_is_noticed(self):
        self.assertEqual(list(differences({"a": {"b": [1]}}, {"a": {"b": ["1"]}})), [".a.b[0]: str"])
        self.assertEqual(list(differences({"a": 1}, {})), [".a: missing"])
        self.assertEqual(list(differences({"a": True}, {"a": 1})), [".a: int"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
