"""Fills the disk of the coordinator's store, or that of the workers' folder, while the service runs.

If the store is full, no new job is accepted and no task assigned, running tasks continue and stored data can be read;
nothing acknowledged is lost. If the working folder is full, jobs fail and say why. Once there is space again everything
continues.
"""

import json
import os
import pathlib
import sys
import time
import unittest

from harness import cluster, mounts, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
_LEASE_S = 3
# Room for a few jobs.
_SPARE = 400_000
_MOST_SUBMISSIONS = 300


class FullDisk(ProgramTest):
    def start(self, **sizes):
        """Starts the service with `work` and `state` on file systems of the given sizes, or on the test's."""
        for name, size in sizes.items():
            mounts.mount(self, self.folder / name, size)
        self.state = self.folder / "state"
        self.cluster = self.start_cluster(workers=1, slots=4, lease_s=_LEASE_S, trainer=_TRAINER,
                                          coordinator_arguments=["--state-dir", self.state])
        self.go = self.folder / "go"

    def write(self, number, **labels):
        return self.write_job({
            "name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
            "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
            "output": {"checkpoint": str(self.results / f"model-{number}")},
            "labels": {"behaviour": "job-held", "go": str(self.go), **labels}}, f"job-{number}.yaml")

    def submit_until_refused(self):
        """Returns (the acknowledged jobs, the rejection)."""
        acknowledged = []
        for number in range(_MOST_SUBMISSIONS):
            done = self.cluster.regroup("submit", self.write(number), "--json")
            if done.returncode != 0:
                return acknowledged, done
            acknowledged.append(json.loads(done.stdout)["name"].removeprefix("jobs/"))
        self.fail(f"{_MOST_SUBMISSIONS} jobs were accepted although the disk is full")

    def hold_a_job(self):
        """Returns a job whose first task runs, and the process of that task."""
        job = self.cluster.submit(self.write("held", hold="run", task="inspect"))
        return job, processes.wait_until(lambda: self.processes_of(job), "the task", 60)

    def processes_of(self, job):
        return processes.processes_with(f"REGROUP_ATTEMPT={job}/inspect/1")

    def assert_all_succeed(self, jobs):
        for job in jobs:
            self.assert_succeeded(self.cluster.wait_for_end(job, 120))
        self.cluster.stop()
        self.assert_nothing_left(10)

    def test_of_the_store_stops_what_is_new_and_nothing_else(self):
        self.start(state="8m")
        job, running = self.hold_a_job()
        ballast = mounts.fill(self.state, _SPARE)
        acknowledged, refusal = self.submit_until_refused()
        print(f"{len(acknowledged)} jobs were accepted into what was left", file=sys.stderr)
        self.assertEqual(refusal.returncode, 3, refusal.stderr)
        self.assertIn("disk is full", refusal.stdout + refusal.stderr)
        # What a job did not fit into may hold something smaller.
        mounts.fill(self.state)
        self.assertEqual(self.cluster.job(job)["state"], "JOB_STATE_RUNNING")
        time.sleep(2 * _LEASE_S)
        self.assertEqual(self.processes_of(job), running, "what runs goes on for longer than a lease")
        self.go.touch()
        processes.wait_until(lambda: not self.processes_of(job), "the end of the task", 30)
        # Its end may not fit into the store yet; it is not lost either.
        time.sleep(1)
        ballast.unlink()
        self.assertEqual(cluster.epochs(self.cluster.wait_for_end(job, 60))["inspect"], 1)
        self.assert_all_succeed([job, *acknowledged, self.cluster.submit(self.write("after"))])

    def test_of_the_store_loses_nothing_when_the_coordinator_is_killed(self):
        self.start(state="8m")
        ballast = mounts.fill(self.state, _SPARE)
        acknowledged, _ = self.submit_until_refused()
        self.cluster.kill_coordinator()
        ballast.unlink()
        self.cluster.start_coordinator()
        listed = {job["name"] for job in self.cluster.json_of("list", "--limit", 1000)["jobs"]}
        self.assertTrue(acknowledged)
        self.assertEqual(listed, {f"jobs/{job}" for job in acknowledged})
        self.assert_all_succeed([*acknowledged, self.cluster.submit(self.write("after"))])

    def test_of_the_store_does_not_keep_a_coordinator_from_starting(self):
        self.start(state="8m")
        job = self.cluster.submit(self.write("one"))
        self.assert_succeeded(self.cluster.wait_for_end(job, 60))
        self.cluster.kill_coordinator()
        ballast = mounts.fill(self.state)
        self.cluster.start_coordinator()
        self.assertEqual([found["name"] for found in self.cluster.json_of("list")["jobs"]], [f"jobs/{job}"])
        ballast.unlink()
        self.assert_all_succeed([self.cluster.submit(self.write("after"))])

    def test_of_the_working_folder_fails_jobs_that_go_on_with_room(self):
        self.start(work="4m")
        ballast = mounts.fill(self.cluster.work)
        job = self.cluster.submit(self.write("first"))
        failed = self.cluster.wait_for_end(job, 120)
        self.assertEqual(failed["state"], "JOB_STATE_FAILED")
        self.assertEqual(failed["failure"]["failure_class"], "FAILURE_CLASS_INFRA")
        self.assertRegex(failed["failure"]["message"], "(?i)no space left")
        self.assert_no_process_of("")
        ballast.unlink()
        self.assertEqual(self.cluster.regroup("retry", job).returncode, 0)
        self.assert_all_succeed([job, self.cluster.submit(self.write("after"))])


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    mounts.enter_namespace()
    unittest.main(verbosity=2)
