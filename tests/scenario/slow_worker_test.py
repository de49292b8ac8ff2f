"""Checks that a layer that takes far too long on one worker is moved to another, once, after the first has ended it."""

import os
import pathlib
import sys
import time
import unittest

from harness import history, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
_LAYERS = 6
_SLOW_S = 2


class SlowWorker(ProgramTest):
    def start(self, slow_task_s):
        self.cluster = self.start_cluster(workers=2, slots=2, lease_s=4, trainer=_TRAINER,
                                          coordinator_arguments=["--slow-task-s", slow_task_s])
        self.go = self.folder / "go"
        # The second attempt is as quick as all others.
        self.go.with_suffix(".2").touch()
        job = self.cluster.submit(self.write_job({
            "name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
            "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
            "output": {"checkpoint": str(self.output)},
            "labels": {"behaviour": "job-held", "go": str(self.go), "hold": "stubborn", "task": "align-000",
                       "layers": str(_LAYERS)}}))
        self.history = history.History(self.cluster, job)
        self.addCleanup(self.history.stop)
        return job

    def slow_task(self, job):
        return next(task for task in self.cluster.job(job)["tasks"] if task["name"].endswith("/align-000"))

    def processes_of_epoch(self, job, epoch):
        return processes.processes_with(f"REGROUP_ATTEMPT={job}/align-000/{epoch}")

    def test_gives_its_layer_to_another_one(self):
        job = self.start(_SLOW_S)
        processes.wait_until(lambda: self.processes_of_epoch(job, 1), "the slow layer", 60)
        slow = self.slow_task(job)["worker"]
        processes.wait_until(lambda: self.processes_of_epoch(job, 2), "the layer on another worker", 60, 0)
        self.assertEqual(self.processes_of_epoch(job, 1), [], "two attempts ran at once")
        done = self.cluster.wait_for_end(job, 60)
        self.assert_succeeded(done)
        task = self.slow_task(job)
        self.assertEqual(int(task["epoch"]), 2)
        self.assertNotEqual(task["worker"], slow)
        self.assertEqual(int(task["infrastructure_failures"]), 1)
        self.assertEqual([int(other["epoch"]) for other in done["tasks"] if other["name"] != task["name"]],
                         [1] * (len(done["tasks"]) - 1))
        self.assertIn(" was slow: ", "".join(str(event) for event in self.history.events()))

    def test_keeps_its_layer_where_nobody_asked_for_that(self):
        job = self.start(0)
        processes.wait_until(lambda: self.processes_of_epoch(job, 1), "the slow layer", 60)
        time.sleep(3 * _SLOW_S)
        self.assertEqual(int(self.slow_task(job)["epoch"]), 1)
        self.go.touch()
        self.assert_succeeded(self.cluster.wait_for_end(job, 60))


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
