#!/usr/bin/env python3
"""Kills trainers and a worker with kill -9 while layers are trained alone: the weights are those of an undisturbed job,
bit for bit, and layers that an earlier attempt finished are not trained again.

REGROUP_TEST_LAYER_KILLS sets how often trainers are killed, at most 6 times, because a task is not started again after
three losses without a finished layer; REGROUP_TEST_SEED sets at which moments.
"""

import collections
import json
import os
import random
import signal
import sys
import time
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest, digest_of

KILLS = int(os.environ.get("REGROUP_TEST_LAYER_KILLS", "3"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 32)))
# Two tasks of two layers each.
_TASKS = ("layerwise-000", "layerwise-002")
_LAYERWISE = {"method": "distill", "sequences": 128, "sequence_length": 128, "passes": 6, "layers_per_task": 2}


def task_of(trainer):
    return trainer.attempt_folder.parent.name


def id_of(job):
    return job["name"].removeprefix("jobs/")


class LayerwiseKillTest(ProgramTest):
    def convert(self, name, disturb=lambda job: None):
        """Returns (digest of the weights, the job)."""
        self.output = self.results / name
        job = self.cluster.submit(self.write_job(job_file.small_job(
            self.output, name=name, alignment={"method": "principal"}, layerwise=_LAYERWISE,
            finetune={"method": "none"})))
        disturb(job)
        done = self.cluster.wait_for_end(job, 600)
        self.assert_succeeded(done)
        self.assert_lost_attempts_left_only_logs(done)
        return digest_of(self.output / "model.safetensors"), done

    def assert_lost_attempts_left_only_logs(self, job):
        for task, epoch in cluster.epochs(job).items():
            for earlier in range(1, epoch):
                folder = self.cluster.work / "jobs" / id_of(job) / task / str(earlier)
                files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
                left = {file for file in files if not file.startswith("logs/")}
                self.assertEqual(left, {"assignment.json"}, folder)

    def records(self, job, epoch="*"):
        return sorted(self.cluster.work.glob(f"jobs/{job}/layerwise-*/{epoch}/out/layer-*.json"))

    def trainers(self):
        return [trainer for task in _TASKS for trainer in processes.trainers_of(self.cluster.work, f"{task}/")]

    def kill_a_training(self, kills, delay_s):
        """Kills a trainer in the middle of its layers, the delay after one is seen: of the task killed least, by
        `kills`. Stopped, it cannot finish its layers between the look at its folder and the signal."""
        processes.wait_until(self.trainers, "a layerwise task")
        time.sleep(delay_s)

        def killed():
            found = self.trainers()
            if not found:
                return False
            trainer = min(found, key=lambda found: kills[task_of(found)])
            processes.signal_if_alive(trainer.pid, signal.SIGSTOP)
            unfinished = len(list((trainer.attempt_folder / "out").glob("layer-*.json"))) < _LAYERWISE["layers_per_task"]
            processes.signal_if_alive(trainer.pid, signal.SIGKILL if unfinished else signal.SIGCONT)
            kills[task_of(trainer)] += unfinished
            return unfinished
        processes.wait_until(killed, "a trainer with an unfinished layer")

    def test_killed_trainers_change_no_bit(self):
        print(f"REGROUP_TEST_SEED={SEED} REGROUP_TEST_LAYER_KILLS={KILLS}", file=sys.stderr)
        moments = random.Random(SEED)
        self.cluster = self.start_cluster(workers=1, slots=2)
        undisturbed, job = self.convert("undisturbed")
        # A killed trainer starts its layer again, so that the next kill, less than a layer later, finds work going on.
        layer_s = min(json.loads(record.read_text())["seconds"] for record in self.records(id_of(job)))

        def kill(_):
            kills = collections.Counter()
            for _ in range(KILLS):
                self.kill_a_training(kills, moments.uniform(0.1, 0.9) * layer_s)

        digest, job = self.convert("disturbed", kill)
        self.assertEqual(digest, undisturbed)
        epochs = cluster.epochs(job)
        self.assertEqual(sum(epochs[task] - 1 for task in _TASKS), KILLS)

    def test_a_killed_worker_changes_no_bit_and_finished_layers_are_kept(self):
        self.cluster = self.start_cluster(workers=2, slots=1, worker_arguments=("--workers-on-machine", "2"))
        undisturbed, _ = self.convert("undisturbed")

        def kill(job):
            processes.wait_until(lambda: self.records(job), "a finished layer")
            [first, *_] = self.records(job)
            task = first.parents[2].name
            [trainer] = self.cluster.wait_for_trainers(f"{task}/1", 1)
            self.cluster.kill_worker_of(trainer)
            self.killed = task, first.name, json.loads(first.read_text())

        digest, job = self.convert("disturbed", kill)
        self.assertEqual(digest, undisturbed)
        task, name, record = self.killed
        self.assertEqual(cluster.epochs(job)[task], 2)
        # Its time would differ if the layer had been trained again.
        again = self.cluster.work / "jobs" / id_of(job) / task / "2/out" / name
        self.assertEqual(json.loads(again.read_text()), record)


if __name__ == "__main__":
    unittest.main(verbosity=2)
