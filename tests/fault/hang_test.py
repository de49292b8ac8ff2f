#!/usr/bin/env python3
"""SIGSTOP of one rank in a step, in a collective and in a save: the watchdog names the rank, the step and the operation
in time, and the job goes on from its checkpoint and succeeds.
"""

import os
import re
import signal
import time
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest

_WATCHDOG_S = 15
_SLACK_S = 5
# Twice a second a rank reports what it does; the last report before the stop is what the worker knows.
_TIME_TO_REPORT_S = 1.5


class HangTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1, coordinator_arguments=["--watchdog-s", _WATCHDOG_S])
        self.job = self.cluster.submit(self.write_job(job_file.small_job(self.output, finetune={"steps": 40})))

    def rank(self, number):
        """Returns the process id of a rank of the first fine-tuning attempt."""
        return next(process.pid for process in self.cluster.wait_for_trainers("finetune/1", 2)
                    if rank_of(process.pid) == number)

    def stop_for_good(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.stopped = time.monotonic()

    def assert_found_in_time(self, operation):
        """Asserts that the first attempt's failure matches the regular expression and that the second one succeeds."""
        failure = processes.wait_until(self.failure, "the watchdog", pause_s=0.1)
        seconds = time.monotonic() - self.stopped
        print(f"found after {seconds:.1f} s: {failure['message']}")
        self.assertEqual(failure["failure_class"], "FAILURE_CLASS_HANG")
        self.assertRegex(failure["message"], rf"^rank 1 made no progress for \d+ s at step \d+ in {operation}")
        self.assertLessEqual(seconds, _WATCHDOG_S + _SLACK_S)
        after = self.cluster.wait_for_end(self.job)
        self.assert_succeeded(after)
        self.assertEqual(cluster.epochs(after)["finetune"], 2)
        self.cluster.stop()
        self.assert_nothing_left()

    def failure(self):
        tasks = self.cluster.job(self.job)["tasks"]
        return next((task.get("failure") for task in tasks if task["name"].endswith("/finetune")), None)

    def test_in_a_step(self):
        self.cluster.wait_for_checkpoint(self.job, 4)
        # The whole training takes a second or two: rank 0 waits until rank 1 has reported from a step.
        os.kill(self.rank(0), signal.SIGSTOP)
        time.sleep(_TIME_TO_REPORT_S)
        os.kill(self.rank(0), signal.SIGCONT)
        self.stop_for_good(self.rank(1))
        self.assert_found_in_time(r"[a-z]+")

    def test_in_a_collective(self):
        self.cluster.wait_for_checkpoint(self.job, 4)
        os.kill(self.rank(0), signal.SIGSTOP)
        time.sleep(_TIME_TO_REPORT_S)
        self.stop_for_good(self.rank(1))
        os.kill(self.rank(0), signal.SIGCONT)
        self.assert_found_in_time(r".*, waiting in [a-z_]+ #\d+$")

    def test_in_a_save(self):
        """The disk hangs too: opening a pipe blocks until it has a reader. Training continues until the next save."""
        file = self.cluster.work / self.file_that_rank_writes(4)
        file.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(file)
        processes.wait_until(lambda: self.last_step() == 8, "the step before the next save", pause_s=0.2)
        time.sleep(_TIME_TO_REPORT_S)
        self.stop_for_good(self.rank(1))
        self.assert_found_in_time("save, while the checkpoint of step 4 is written$")

    def file_that_rank_writes(self, step):
        name = f"rank-00001-of-00002.safetensors.{self.rank(1)}.tmp"
        return f"jobs/{self.job}/finetune/1/checkpoints/step-{step:08d}/{name}"

    def last_step(self):
        return max((step for _, step, _ in self.cluster.metric(self.job, "loss")), default=0)


def rank_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as environment:
        return int(re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", environment.read()).group(1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
