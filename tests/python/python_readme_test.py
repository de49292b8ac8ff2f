#!/usr/bin/env python3
"""Runs the examples of python/README.md one after the other, as in a notebook."""

import contextlib
import io
import os
import re
import unittest
from unittest import mock

from harness import job_file, places
from harness.program_test import ProgramTest

from mlflow_server import MlflowServer

PAGE = places.REPOSITORY / "python/README.md"


class PythonReadme(ProgramTest):
    def test_every_example_runs(self):
        blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        self.assertGreater(len(blocks), 4)
        cluster = self.start_cluster(workers=1)
        server = MlflowServer(self.folder)
        self.addCleanup(server.stop)
        self.write_job(job_file.small_job("results/model", finetune={"ranks": 1}, evaluation=job_file.evaluation()))
        names = {"tracking_uri": server.url}
        shown = io.StringIO()
        with mock.patch.dict(os.environ, {"REGROUP_COORDINATOR": cluster.address}), contextlib.chdir(self.folder), \
                contextlib.redirect_stdout(shown):
            for block in blocks:
                exec(compile(block, str(PAGE), "exec"), names)
        names["client"].close()
        for line in re.findall(r"print\(.*# (.*)$", "\n".join(blocks), re.MULTILINE):
            self.assertIn(line, shown.getvalue())
        self.assertIn("succeeded", shown.getvalue())
        self.assertRegex(names["run_id"], r"^[0-9a-f]{32}$")
        self.assertTrue((self.output / "config.json").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
