#!/usr/bin/env python3
"""Kills ranks of one job with kill -9, repeatedly at random moments: its weights are those of an undisturbed job, bit
for bit.

REGROUP_TEST_RANK_KILLS sets how often, REGROUP_TEST_SEED which moments and ranks.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest, digest_of

KILLS = int(os.environ.get("REGROUP_TEST_RANK_KILLS", "3"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 32)))
_INTERVAL = 4
# A kill costs a few intervals; faster machines do more steps in the same time.
_STEPS = 40 * (KILLS + 1)


class RankKillTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.moments = random.Random(SEED)
        self.cluster = self.start_cluster(workers=1)

    def submit(self, checkpoint_every_steps):
        settings = {"steps": _STEPS, "checkpoint_every_steps": checkpoint_every_steps}
        return self.cluster.submit(self.write_job(job_file.small_job(self.output, finetune=settings)))

    def published_digests(self):
        return {name: digest_of(self.output / name) for name in ("model.safetensors", "regroup/alignment.safetensors")}

    def undisturbed_digests(self):
        self.assert_succeeded(self.cluster.wait_for_end(self.submit(0), 900))
        digests = self.published_digests()
        shutil.rmtree(self.output)
        return digests

    def finetune(self, job):
        return next(task for task in self.cluster.job(job)["tasks"] if task["name"].endswith("/finetune"))

    def checkpoints_reached(self, job):
        """By the current attempt, as the coordinator knows it; it gives up after three restarts without a newer one."""
        return int(self.finetune(job).get("progress", {}).get("done", 0)) // _INTERVAL

    def complete_checkpoints(self, job):
        return set(self.cluster.work.glob(f"jobs/{job}/finetune/*/checkpoints/*/manifest.json"))

    def ranks(self, job, epoch):
        ranks = processes.trainers_of(self.cluster.work, f"finetune/{epoch}")
        self.assertTrue(ranks, f"{job} ended before the last kill: raise the number of steps")
        return ranks

    def wait_for_moment(self, job, epoch, best, must_advance):
        """Waits for a moment while the ranks start, load and resume, or soon after they began or completed a
        checkpoint."""
        if must_advance:
            self.wait_until_training(job, epoch, lambda: self.checkpoints_reached(job) > best, pause_s=0.1)
        elif self.moments.random() < 0.6:
            before = self.complete_checkpoints(job)
            self.wait_until_training(job, epoch, lambda: self.complete_checkpoints(job) - before, pause_s=0.002)
        else:
            return time.sleep(self.moments.uniform(0, 1.2))
        time.sleep(self.moments.uniform(0, 0.2))

    def wait_until_training(self, job, epoch, is_reached, pause_s):
        processes.wait_until(lambda: is_reached() or not self.ranks(job, epoch), "a newer checkpoint", pause_s=pause_s)

    def kill_some_ranks(self, job, epoch):
        ranks = self.ranks(job, epoch)
        for rank in self.moments.sample(ranks, self.moments.randint(1, len(ranks))):
            processes.signal_if_alive(rank.pid, signal.SIGKILL)

    def kill_again_and_again(self, job):
        best, without_progress = 0, 0
        for epoch in range(1, KILLS + 1):
            self.cluster.wait_for_trainers(f"finetune/{epoch}", 2)
            self.wait_for_moment(job, epoch, best, must_advance=without_progress == 2)
            reached = self.checkpoints_reached(job)
            self.kill_some_ranks(job, epoch)
            without_progress = 0 if reached > best else without_progress + 1
            best = max(best, reached)
            print(f"kill {epoch} of {KILLS} after checkpoint {reached}", file=sys.stderr)

    def test_changes_no_bit_of_the_weights(self):
        print(f"REGROUP_TEST_SEED={SEED} REGROUP_TEST_RANK_KILLS={KILLS}", file=sys.stderr)
        undisturbed = self.undisturbed_digests()
        job = self.submit(_INTERVAL)
        self.kill_again_and_again(job)
        after = self.cluster.wait_for_end(job, 900)
        self.assert_succeeded(after)
        self.assertEqual(cluster.epochs(after)["finetune"], KILLS + 1)
        self.assertEqual(self.published_digests(), undisturbed)
        training = json.loads((self.output / "regroup/report.json").read_text())["training"]
        print(f"goodput {training['goodput']:.2f}", file=sys.stderr)
        self.assertGreater(training["goodput"], 0)
        self.assertLess(training["goodput"], 0.9, "killed ranks had to load the model and repeat steps")
        self.cluster.stop()
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
