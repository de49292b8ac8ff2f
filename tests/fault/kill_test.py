#!/usr/bin/env python3
"""Kills each kind of program with kill -9: the result is the same, bit for bit, and no finished task runs again.

REGROUP_TEST_KILLS sets how often the coordinator is killed at random moments, REGROUP_TEST_SEED which moments.
"""

import os
import random
import sys
import time
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest, digest_of

KILLS = int(os.environ.get("REGROUP_TEST_KILLS", "3"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 32)))


class KillTest(ProgramTest):
    undisturbed = None

    def start_job(self, **settings):
        """Returns a cluster and a job that runs on it."""
        self.cluster = self.start_cluster(**settings)
        return self.cluster.submit(self.write_job(job_file.small_job(self.output)))

    def assert_as_undisturbed(self, job):
        self.assert_succeeded(job)
        self.assertEqual(self.published_digests(), self.digests_without_faults())
        self.assertEqual([path.name for path in self.results.iterdir()], [self.output.name])

    def published_digests(self):
        return {name: digest_of(self.output / name) for name in ("model.safetensors", "regroup/alignment.safetensors")}

    def assert_only_repeated(self, job, tasks):
        """Asserts that every task had one attempt, except these, which had two."""
        expected = {name: 2 if name in tasks else 1 for name in cluster.epochs(job)}
        self.assertEqual(cluster.epochs(job), expected)

    def assert_kept(self, before, after):
        """Asserts that tasks which had succeeded before were not run again."""
        finished = cluster.finished_tasks(before)
        kept = {name: epoch for name, epoch in cluster.epochs(after).items() if name in finished}
        self.assertEqual(kept, {name: cluster.epochs(before)[name] for name in finished})

    def end(self):
        self.cluster.stop()
        self.assert_nothing_left()

    @classmethod
    def digests_without_faults(cls):
        assert KillTest.undisturbed, "setUpModule did not run"
        return KillTest.undisturbed


class UndisturbedJob(KillTest):
    def measure(self):
        job = self.start_job()
        done = self.cluster.wait_for_end(job)
        self.assert_succeeded(done)
        self.assert_only_repeated(done, [])
        KillTest.undisturbed = self.published_digests()
        self.end()


def setUpModule():
    result = unittest.TestResult()
    UndisturbedJob("measure").run(result)
    for _, text in result.errors + result.failures:
        raise AssertionError("the undisturbed job did not succeed: " + text)


class WorkerKilled(KillTest):
    def test_during_align_only_its_own_layers_run_again(self):
        job = self.start_job()
        trainer = self.cluster.wait_for_trainers("align-")[0]
        worker = self.cluster.kill_worker_of(trainer)
        before = self.cluster.job(job)
        self.cluster.start_worker(worker)
        after = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(after)
        self.assert_kept(before, after)
        repeated = {name for name, epoch in cluster.epochs(after).items() if epoch > 1}
        self.assertTrue(repeated, "the kill hit nothing")
        self.assertTrue(all(name.startswith("align-") for name in repeated), repeated)
        self.end()

    def test_during_finetune_and_never_started_again_the_other_worker_continues(self):
        job = self.start_job()
        with self.cluster.held_at_checkpoint(job, 4) as ranks:
            self.cluster.kill_worker_of(ranks[0])
        after = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(after)
        self.assert_only_repeated(after, ["finetune"])
        self.assertGreater(first_step_of(self.cluster, job, epoch=2), 4)
        self.end()


class RankKilled(KillTest):
    def test_during_finetune_the_gang_continues_from_its_checkpoint(self):
        job = self.start_job()
        with self.cluster.held_at_checkpoint(job, 4) as ranks:
            os.kill(ranks[1].pid, 9)
        after = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(after)
        self.assert_only_repeated(after, ["finetune"])
        self.assertGreater(first_step_of(self.cluster, job, epoch=2), 4)
        self.end()


class CoordinatorKilled(KillTest):
    def test_during_finetune_the_ranks_go_on(self):
        job = self.start_job()
        with self.cluster.held_at_checkpoint(job, 4) as held:
            ranks = {rank.pid for rank in held}
            self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        self.assertEqual({rank.pid for rank in processes.trainers_of(self.folder, "finetune/")} - ranks, set())
        after = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(after)
        self.assert_only_repeated(after, [])
        steps = sorted(step for _, step, _ in self.cluster.metric(job, "loss"))
        self.assertEqual(steps, list(range(1, 13)), "training curves lost or doubled points")
        self.end()

    def test_at_random_moments_finished_tasks_stay_finished(self):
        moments = random.Random(SEED)
        print(f"REGROUP_TEST_SEED={SEED} REGROUP_TEST_KILLS={KILLS}", file=sys.stderr)
        job = self.start_job()
        for kill in range(KILLS):
            time.sleep(moments.uniform(0.05, 4))
            before = self.cluster.job(job)
            if before["state"] in cluster.FINAL_STATES:
                print(f"the job ended after {kill} kills", file=sys.stderr)
                break
            self.cluster.kill_coordinator()
            time.sleep(moments.choice([0, 0, 1]))
            self.cluster.start_coordinator()
            self.assert_kept(before, self.cluster.job(job))
        after = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(after)
        self.assert_kept(before, after)
        self.end()


class AllKilled(KillTest):
    def test_when_the_result_appears_it_is_published_once(self):
        job = self.start_job(workers=1)
        processes.wait_until(self.output.exists, "the result", pause_s=0.0005)
        for worker in self.cluster.workers.values():
            processes.kill_now(worker)
        self.cluster.kill_coordinator()
        published = self.output.stat().st_ino
        self.cluster.start_coordinator()
        self.cluster.start_worker("worker-1")
        after = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(after)
        self.assertEqual(self.output.stat().st_ino, published)
        self.assertEqual({name for name, epoch in cluster.epochs(after).items() if epoch > 1} - {"report"}, set())
        self.end()


def first_step_of(started, job, epoch):
    return min(step for point_epoch, step, _ in started.metric(job, "loss") if point_epoch == epoch)


if __name__ == "__main__":
    unittest.main(verbosity=2)
