#!/usr/bin/env python3
"""A full disk ends a job with one sentence that says so, and leaves nothing where the result would have been.

Mounts small file systems in a mount namespace of its own, which needs root or unprivileged user namespaces.
"""

import sys
import unittest

from harness import cluster, job_file, mounts
from harness.program_test import ProgramTest, digest_of


class DiskFullTest(ProgramTest):
    def mount(self, name, size):
        return mounts.mount(self, self.folder / name, size)

    def run_job(self, job, work):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", work, "--slots", 2)

    def assert_failed_for_want_of_space(self, done):
        text = done.stdout + done.stderr
        self.assertIn(done.returncode, (1, 3), text)
        self.assertRegex(text, "(?i)no space left|disk is full|disk full")
        self.assert_nothing_left()

    def test_in_the_working_folder_at_different_stages(self):
        for size in ("64k", "1m", "4m", "12m"):
            with self.subTest(size=size):
                work = self.mount(f"work-{size}", size)
                done = self.run_job(job_file.small_job(self.output), work)
                print(f"{size}: {last_words(done)}", file=sys.stderr)
                self.assert_failed_for_want_of_space(done)
                self.assert_nothing_published()

    def test_where_the_result_would_be_published(self):
        self.results = self.mount("small", "1m")
        done = self.run_job(job_file.aligned_only(self.results / "model"), self.folder / "work")
        print(last_words(done), file=sys.stderr)
        self.assert_failed_for_want_of_space(done)
        self.assertIn(str(self.results), done.stdout + done.stderr)
        self.assert_nothing_published()

    def test_with_space_a_result_reaches_another_file_system(self):
        self.results = self.mount("large", "100m")
        done = self.run_job(job_file.aligned_only(self.results / "model"), self.folder / "work")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        exported = next(self.folder.glob("work/jobs/*/export/1/out/checkpoint/model.safetensors"))
        self.assertEqual(digest_of(self.results / "model/model.safetensors"), digest_of(exported))
        self.assertEqual([path.name for path in self.results.iterdir()], ["model"])

    def test_a_job_continues_once_there_is_space(self):
        work = self.mount("work", "4m")
        job = job_file.small_job(self.output)
        self.assertNotEqual(self.run_job(job, work).returncode, 0)
        mounts.resize(work, "400m")
        done = self.run_job(job, work)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue((self.output / "model.safetensors").exists())
        self.assert_nothing_left()


def last_words(done):
    return " | ".join(line.strip() for line in (done.stdout + done.stderr).splitlines() if "ailed" in line or "space" in line)


if __name__ == "__main__":
    mounts.enter_namespace()
    unittest.main(verbosity=2)
