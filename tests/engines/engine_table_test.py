"""Compares the table of engines in README.md, and that of `regroup families`, with results.json."""

import json
import os
import subprocess
import unittest

from engine_families import CASES, ONE_HEAD, UNEVEN
from engine_table import NAMES, read_results, split_page, table, word_of


class EngineTableTest(unittest.TestCase):
    def test_every_engine_has_an_outcome_of_every_case(self):
        results = read_results()
        self.assertEqual(sorted(results), sorted(NAMES))
        for engine, result in results.items():
            self.assertEqual(set(result["cases"]), {*CASES, UNEVEN}, engine)
            self.assertIn("works", [outcome["outcome"] for outcome in result["cases"].values()])

    def test_the_page_shows_the_results(self):
        self.assertEqual(split_page()[1], table(), "run python3 tests/engines/engine_table.py --write")

    def test_the_command_line_names_the_results(self):
        program = os.path.join(os.environ["REGROUP_BIN"], "regroup")
        listed = json.loads(subprocess.run([program, "families", "--json"], check=True, capture_output=True).stdout)
        for engine, result in read_results().items():
            key = engine.replace("-", "_")
            tried = {model_type: word_of(result["cases"][case]) for case, (model_type, _) in CASES.items()
                     if case == model_type}  # fmt: skip
            tried["gpt_bigcode"] = word_of(result["cases"][ONE_HEAD])
            self.assertEqual({entry["family"]: entry[key] for entry in listed},
                             {entry["family"]: tried.get(entry["family"], "not tried") for entry in listed}, engine)


if __name__ == "__main__":
    unittest.main()
