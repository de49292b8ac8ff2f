"""The base class of tests on real programs: gives each test a folder and leaves no process and no folder behind."""

import hashlib
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

from harness import cluster, job_file, processes


class ProgramTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-test-"))
        self.addCleanup(self._remove_everything)
        self.results = self.folder / "results"
        self.results.mkdir()
        self.output = self.results / "model"

    def run(self, result=None):
        self._result = result
        self._failures_before = _failures(result)
        return super().run(result)

    def start_cluster(self, **settings):
        started = cluster.Cluster(self.folder, **settings)
        self.addCleanup(started.stop)
        return started

    def write_job(self, job, name="job.yaml"):
        return job_file.write(self.folder / name, job)

    def assert_succeeded(self, job):
        self.assertEqual(job["state"], "JOB_STATE_SUCCEEDED", job.get("failure"))

    def assert_no_process_of(self, task="", patience_s=60):
        """Asserts that no rank of the task (by default of any task) is left."""
        processes.wait_until(lambda: not processes.trainers_of(self.folder, task), f"the end of all ranks {task}",
                             patience_s)

    def assert_nothing_left(self, patience_s=60):
        """Asserts that no program of this test is left."""
        try:
            processes.wait_until(lambda: not processes.processes_of(self.folder), "the end of all processes", patience_s)
        except AssertionError:
            left = "\n".join(map(str, processes.processes_of(self.folder)))
            if left:
                self.fail(f"processes are left:\n{left}")

    def assert_nothing_published(self):
        """Asserts that neither the result nor a hidden temporary folder beside it exists."""
        self.assertEqual(sorted(path.name for path in self.results.iterdir()), [])

    def _remove_everything(self):
        if _failures(self._result) > self._failures_before:
            self._show_logs()
        left = processes.processes_of(self.folder)
        processes.kill_all_of(self.folder)
        if "REGROUP_TEST_KEEP" in os.environ:
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        if left:
            self.fail("processes were left:\n" + "\n".join(map(str, left)))

    def _show_logs(self):
        for log in sorted((*self.folder.glob("*.log"), *self.folder.glob("*/*.log"))):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)


def _failures(result):
    return len(result.failures) + len(result.errors) if result is not None else 0


def digest_of(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()
