#!/usr/bin/env python3
"""Pauses and resumes jobs on real programs: the result is that of an undisturbed job, bit for bit, training goes on with
the step after the one at which it stopped, and slots are free in between.
"""

import contextlib
import signal
import time
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest, digest_of

_STEPS = 60
# Far enough apart that a pause falls between two of them.
_CHECKPOINT = 20
# Longer than the second between two heartbeats: the worker then knows of the pause.
_HEARTBEAT_S = 2
_TRAINING = {"steps": _STEPS, "checkpoint_every_steps": _CHECKPOINT}


class PauseTest(ProgramTest):
    undisturbed = None

    def start(self, **settings):
        self.cluster = self.start_cluster(**settings)

    def submit(self, name="model"):
        self.output = self.results / name
        return self.cluster.submit(self.write_job(job_file.small_job(self.output, name=name, finetune=_TRAINING)))

    def wait_for_state(self, job, state):
        return processes.wait_until(
            lambda: next((seen for seen in [self.cluster.job(job)] if seen["state"] == f"JOB_STATE_{state}"), None),
            f"{job} to be {state}", 120, 0.1)

    def pause(self, job):
        """Returns the job once it is paused."""
        self.assertIn(self.cluster.json_of("pause", job)["state"], ("JOB_STATE_PAUSING", "JOB_STATE_PAUSED"))
        return self.wait_for_state(job, "PAUSED")

    def pause_in_training(self, job):
        """Pauses the job some steps after its first checkpoint."""
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT):
            self.cluster.json_of("pause", job)
            time.sleep(_HEARTBEAT_S)
        return self.wait_for_state(job, "PAUSED")

    def resume(self, job):
        self.assertNotIn(self.cluster.json_of("resume", job)["state"], ("JOB_STATE_PAUSING", "JOB_STATE_PAUSED"))

    def published_digests(self):
        return {name: digest_of(self.output / name) for name in ("model.safetensors", "regroup/alignment.safetensors")}

    def assert_as_undisturbed(self, job):
        self.assert_succeeded(job)
        self.assertEqual(self.published_digests(), PauseTest.undisturbed)

    def assert_only_repeated(self, job, tasks):
        expected = {name: 2 if name in tasks else 1 for name in cluster.epochs(job)}
        self.assertEqual(cluster.epochs(job), expected)

    def assert_every_step_ran_once(self, job):
        steps = [step for _, step, _ in self.cluster.metric(job, "loss")]
        self.assertEqual(steps, list(range(1, _STEPS + 1)))


class UndisturbedJob(PauseTest):
    def measure(self):
        self.start(workers=1)
        job = self.submit()
        self.assert_succeeded(self.cluster.wait_for_end(job))
        PauseTest.undisturbed = self.published_digests()


def setUpModule():
    result = unittest.TestResult()
    UndisturbedJob("measure").run(result)
    for _, text in result.errors + result.failures:
        raise AssertionError("the undisturbed job did not succeed: " + text)


class Training(PauseTest):
    def test_goes_on_after_the_step_at_which_it_stopped_while_another_job_ran(self):
        self.start(workers=1)
        job = self.submit()
        paused = self.pause_in_training(job)
        self.assertEqual(paused["waiting_reason"], "paused until it is resumed")
        self.assert_no_process_of("")
        last = max(step for _, step, _ in self.cluster.metric(job, "loss"))
        self.assertLess(last, _STEPS, "the job ended before it was paused: it has too few steps for this test")
        self.assertTrue(self.cluster.wait_for_checkpoint(job, last), "training did not save the step at which it stopped")

        following = self.write_job(job_file.aligned_only(self.results / "following"), "following.yaml")
        self.assert_succeeded(self.cluster.wait_for_end(self.cluster.submit(following)))
        self.resume(job)
        done = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(done)
        self.assert_only_repeated(done, ["finetune"])
        self.assert_every_step_ran_once(job)
        self.assertEqual([task for task in done["tasks"] if "infrastructure_failures" in task], [])

    def test_is_still_paused_after_the_coordinator_was_killed_twice(self):
        self.start(workers=1)
        job = self.submit()
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT):
            self.assertEqual(self.cluster.json_of("pause", job)["state"], "JOB_STATE_PAUSING")
            self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        self.wait_for_state(job, "PAUSED")
        self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        self.assertEqual(self.cluster.job(job)["state"], "JOB_STATE_PAUSED")
        self.resume(job)
        self.assert_as_undisturbed(self.cluster.wait_for_end(job))
        self.assert_every_step_ran_once(job)

    def test_that_reaches_no_step_is_killed_and_goes_on_from_its_last_checkpoint(self):
        self.start(workers=1, coordinator_arguments=("--pause-limit-s", 2))
        job = self.submit()
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT):
            self.pause(job)
        self.assert_no_process_of("")
        self.resume(job)
        done = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(done)
        self.assert_only_repeated(done, ["finetune"])

    def test_goes_on_if_the_pause_is_taken_back_at_once(self):
        self.start(workers=1)
        job = self.submit()
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT):
            self.cluster.json_of("pause", job)
            self.resume(job)
        self.assert_as_undisturbed(self.cluster.wait_for_end(job))

    def test_gives_way_to_a_job_of_higher_priority_and_goes_on_after_it(self):
        self.start(workers=1, coordinator_arguments=("--preempt",))
        job = self.submit()
        with self.cluster.held_at_checkpoint(job, _CHECKPOINT):
            urgent = self.cluster.submit(self.write_job(
                job_file.aligned_only(self.results / "urgent", resources={"priority": 1}), "urgent.yaml"))
            self.assertEqual(self.wait_for_state(job, "PAUSING")["gave_way_to"], urgent)
            time.sleep(_HEARTBEAT_S)
        self.assertEqual(self.wait_for_state(job, "PAUSED")["waiting_reason"],
                         f"gave way to job {urgent}, which has a higher priority")
        self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        self.assert_succeeded(self.cluster.wait_for_end(urgent))
        done = self.cluster.wait_for_end(job)
        self.assertNotIn("gave_way_to", done)
        self.assert_as_undisturbed(done)
        self.assert_only_repeated(done, ["finetune"])
        self.assert_every_step_ran_once(job)

    def test_is_cancelled_and_retried(self):
        self.start(workers=1)
        job = self.submit()
        self.pause_in_training(job)
        self.assertEqual(self.cluster.regroup("retry", job).returncode, 2)
        self.assertEqual(self.cluster.regroup("delete", job).returncode, 2)
        self.assertEqual(self.cluster.json_of("cancel", job)["state"], "JOB_STATE_CANCELLED")
        self.assert_nothing_published()
        self.cluster.json_of("retry", job)
        self.assert_as_undisturbed(self.cluster.wait_for_end(job))
        self.assert_every_step_ran_once(job)


class OtherTasks(PauseTest):
    def test_are_stopped_at_once_and_start_again(self):
        self.start(workers=1)
        job = self.submit()
        with self.held(self.cluster.wait_for_trainers("align-")):
            paused = self.pause(job)
        self.assert_no_process_of("")
        finished = cluster.finished_tasks(paused)
        self.assertIn("calibrate", finished)
        self.resume(job)
        done = self.cluster.wait_for_end(job)
        self.assert_as_undisturbed(done)
        self.assertEqual({name for name, epoch in cluster.epochs(done).items() if epoch > 1} & finished, set())

    @contextlib.contextmanager
    def held(self, trainers):
        """Keeps the trainers from ending by themselves while the block runs."""
        for trainer in trainers:
            processes.signal_if_alive(trainer.pid, signal.SIGSTOP)
        yield
        for trainer in trainers:
            processes.signal_if_alive(trainer.pid, signal.SIGCONT)


class Sweep(PauseTest):
    def test_trains_every_arm_as_without_a_pause(self):
        self.start(workers=2)
        expected = self.trained_models(self.run_sweep("whole", pauses=False))
        self.assertEqual(len(expected), 2)
        self.assertEqual(self.trained_models(self.run_sweep("paused", pauses=True)), expected)

    def run_sweep(self, name, pauses):
        spec = job_file.small_job(self.results / name, name=name, finetune=_TRAINING, sweep={"kv_heads": [2, 4]})
        del spec["output"], spec["target"]
        job = self.cluster.submit(self.write_job(spec))
        if pauses:
            self.cluster.wait_for_trainers("finetune-", 4)
            self.pause(job)
            self.assert_no_process_of("")
            self.resume(job)
        self.assert_succeeded(self.cluster.wait_for_end(job))
        return job

    def trained_models(self, job):
        """Returns the digests of the weights of each arm."""
        files = self.cluster.work.glob(f"jobs/{job}/finetune-*/*/out/*/model.safetensors")
        return {file.relative_to(self.cluster.work).parts[2]: digest_of(file) for file in files}


if __name__ == "__main__":
    unittest.main(verbosity=2)
