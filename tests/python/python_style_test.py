#!/usr/bin/env python3
"""The client is clean under ruff and, with its generated stubs, under mypy's strict checks."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from harness import places

FOLDER = places.REPOSITORY / "python"
INSTALLED = pathlib.Path(os.environ["REGROUP_PYTHON_CLIENT"])


class PythonStyle(unittest.TestCase):
    def run_tool(self, *arguments, **environment):
        done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=FOLDER, env={**os.environ, **environment},
                              capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_ruff_finds_nothing(self):
        self.run_tool("ruff", "check", "--no-cache", FOLDER)
        self.run_tool("ruff", "format", "--check", "--no-cache", FOLDER)

    def test_mypy_finds_nothing(self):
        with tempfile.TemporaryDirectory() as cache:
            self.run_tool("mypy", "--strict", "--python-version", "3.10", "--cache-dir", cache, "--package", "regroup",
                          MYPYPATH=str(INSTALLED), PYTHONPATH="")


if __name__ == "__main__":
    unittest.main(verbosity=2)
