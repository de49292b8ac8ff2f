"""Kills a worker whose trainer has just staged its result with kill -9, then cancels the job: nothing stays beside the
output.

The worker does not come back, so only the coordinator can clean up after it.
"""

import os
import pathlib
import sys
import unittest

from harness import cluster, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"


class KilledWorker(ProgramTest):
    def start_job_that_stays_staged(self):
        running = self.start_cluster(workers=1, slots=4, lease_s=3, trainer=_TRAINER)
        file = self.write_job({"name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
                               "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
                               "output": {"checkpoint": str(self.output)},
                               "labels": {"behaviour": "job", "stay": "staged"}})
        job = running.submit(file)
        processes.wait_until(lambda: any(self.results.iterdir()), "the staged result", 60)
        return running, job

    def wait_for_end(self, running, job):
        processes.wait_until(lambda: running.job(job)["state"] in cluster.FINAL_STATES, "the job's end", 60, 0.2)
        return running.job(job)["state"]

    def test_and_a_cancelled_job_leave_no_staged_result(self):
        running, job = self.start_job_that_stays_staged()
        processes.kill_now(running.workers["worker-1"])
        self.assertEqual(running.regroup("cancel", job).returncode, 0)
        self.assertEqual(self.wait_for_end(running, job), "JOB_STATE_CANCELLED")
        processes.wait_until(lambda: not any(self.results.iterdir()), "the removal of the staged result", 30)
        self.assert_nothing_published()

    def test_and_a_second_worker_that_takes_over_leave_no_staged_result(self):
        running, job = self.start_job_that_stays_staged()
        first = next(self.results.iterdir())
        processes.kill_now(running.workers["worker-1"])
        running.start_worker("worker-2")
        processes.wait_until(lambda: [path for path in self.results.iterdir() if path != first], "the next attempt", 60)
        self.assertEqual(running.regroup("cancel", job).returncode, 0)
        self.assertEqual(self.wait_for_end(running, job), "JOB_STATE_CANCELLED")
        processes.wait_until(lambda: not any(self.results.iterdir()), "the removal of both", 30)


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
