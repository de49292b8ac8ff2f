#!/usr/bin/env python3
"""Jobs that used to fail after all of their work, or that ended well without a result."""

import shutil
import unittest

from harness import cluster, job_file
from harness.program_test import ProgramTest

JOB_FAILED = 1


class LateFailuresTest(ProgramTest):
    def run_alone(self, job, *arguments, **settings):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work", *arguments,
                                   **settings)

    def succeed(self, job):
        done = self.run_alone(job)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_an_output_with_a_slash_at_its_end(self):
        for end in ("/", "//", "/."):
            with self.subTest(end):
                self.succeed(job_file.aligned_only(f"{self.output}{end}"))
                self.assertEqual([path.name for path in self.results.iterdir()], ["model"])
                self.assertTrue((self.output / "model.safetensors").exists())
                shutil.rmtree(self.output)


if __name__ == "__main__":
    unittest.main()
