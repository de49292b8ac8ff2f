#!/usr/bin/env python3
"""Folders that are gone, closed or loop, names that are too long, ports that are none, readers that leave: each ends in
one sentence, and never in a crash or in "a defect of Regroup"."""

import os
import subprocess
import unittest

from harness import cluster, job_file, places
from harness.program_test import ProgramTest

JOB_FAILED, REFUSED, UNAVAILABLE = 1, 2, 3
LONG_NAME = "x" * 300
NOBODY = 65534


class OddPlacesTest(ProgramTest):
    def assert_refused(self, done, code, *fragments):
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, code, text)
        for fragment in fragments:
            self.assertIn(fragment, text)
        self.assertNotIn("defect", text)
        self.assertNotIn("bug in Regroup", text)

    def run_job(self, job, **settings):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work", **settings)

    def test_a_current_folder_that_was_deleted(self):
        gone = self.folder / "gone"
        gone.mkdir()
        job = self.write_job(job_file.aligned_only(self.output))
        for command in (["regroup", "run", job], ["regroup", "inspect", places.MODEL], ["regroup", "plan", job],
                        ["regroup-coordinator", "--work-dir", "work"],
                        ["regroup-worker", "--coordinator", "127.0.0.1:1", "--work-dir", "work"]):
            with self.subTest(command[0] + " " + str(command[1])):
                program = places.PROGRAMS / command[0]
                done = subprocess.run(["sh", "-c", 'rmdir "$0" && exec "$@"', gone, program, *command[1:]], cwd=gone,
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assertIn("the current folder cannot be used", done.stdout + done.stderr)
                gone.mkdir()

    def test_a_working_folder_without_a_name(self):
        job = self.write_job(job_file.aligned_only(self.output))
        self.assert_refused(cluster.run_regroup("run", job, "--work-dir", ""), REFUSED, "--work-dir")

    def test_a_report_under_a_name_that_is_too_long_or_loops(self):
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        for name in (LONG_NAME, loop):
            with self.subTest(str(name)[:20]):
                done = cluster.run_regroup("report", name, "--coordinator", "127.0.0.1:1")
                self.assertIn(done.returncode, (REFUSED, UNAVAILABLE), done.stderr)

    def test_an_output_that_cannot_be(self):
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        for output, reason in ((self.results / LONG_NAME, "File name too long"), (loop / "model", "symbolic links")):
            with self.subTest(reason):
                done = self.run_job(job_file.aligned_only(output))
                self.assert_refused(done, JOB_FAILED, "output.checkpoint", reason)

    def test_a_source_that_cannot_be(self):
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        for source in (self.folder / LONG_NAME, loop):
            with self.subTest(source.name[:20]):
                job = job_file.aligned_only(self.output, source={"checkpoint": str(source)})
                self.assert_refused(self.run_job(job), JOB_FAILED, "source.checkpoint")

    @unittest.skipUnless(os.geteuid() == 0, "changes to another account")
    def test_folders_that_this_account_may_not_enter(self):
        closed = self.folder / "closed"
        closed.mkdir(mode=0o700)
        for folder in (self.folder, self.results):
            folder.chmod(0o777)
        output = closed / "model"
        job = self.write_job(job_file.aligned_only(output))
        done = cluster.run_regroup("run", job, "--work-dir", self.folder / "work", user=NOBODY, group=NOBODY,
                                   extra_groups=[])
        self.assert_refused(done, JOB_FAILED, "output.checkpoint", "Permission denied")
        done = cluster.run_regroup("report", closed / "model", "--coordinator", "127.0.0.1:1", user=NOBODY,
                                   group=NOBODY)
        self.assertIn(done.returncode, (REFUSED, UNAVAILABLE), done.stderr)

    def test_ports_that_are_none(self):
        for flag, address in (("--listen", "127.0.0.1:70000"), ("--listen", "127.0.0.1"), ("--listen", "127.0.0.1:"),
                              ("--metrics-listen", "127.0.0.1:99999"), ("--metrics-listen", "127.0.0.1:port")):
            with self.subTest(f"{flag} {address}"):
                addresses = {"--listen": "127.0.0.1:0", "--metrics-listen": "127.0.0.1:0", flag: address}
                flags = [word for pair in addresses.items() for word in pair]
                done = subprocess.run([places.PROGRAMS / "regroup-coordinator", "--work-dir", self.folder / "work", *flags],
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, REFUSED, done.stderr)
                self.assertIn("is not an address: write HOST:PORT with a port from 0 to 65535", done.stderr)
        for address in ("127.0.0.1:99999", "127.0.0.1", "127.0.0.1:0"):
            with self.subTest(address):
                self.assert_refused(cluster.run_regroup("list", "--coordinator", address), REFUSED, address,
                                    "port from 1 to 65535")

    def test_a_reader_of_the_output_that_leaves(self):
        job = self.write_job(job_file.aligned_only(self.output))
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            done = subprocess.run([places.PROGRAMS / "regroup", "run", job, "--work-dir", self.folder / "work"],
                                  stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.PIPE, text=True,
                                  timeout=300)
        finally:
            os.close(write_end)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((self.output / "model.safetensors").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
