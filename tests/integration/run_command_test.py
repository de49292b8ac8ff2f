#!/usr/bin/env python3
"""Tests `regroup run`: exit codes, output into a pipe, Ctrl-C, and continuing after a kill -9 or a closed terminal."""

import json
import os
import signal
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest, digest_of


class RunCommandTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.work = self.folder / "work"
        self.log = self.folder / "run.log"

    def run_to_end(self, file, *arguments):
        return cluster.run_regroup("run", file, "--work-dir", self.work, "--slots", 2, *arguments)

    def start_in_background(self, file):
        return cluster.start_run(file, self.work, self.log, "--slots", "2")

    def wait_for_checkpoint(self, step):
        manifests = f"jobs/*/finetune/*/checkpoints/step-{step:08d}/manifest.json"
        processes.wait_until(lambda: list(self.work.glob(manifests)), f"the checkpoint of step {step}")

    def endless_job(self):
        return self.write_job(job_file.small_job(self.output, finetune={"steps": 100000}))


class Finished(RunCommandTest):
    def test_exits_with_0_writes_plain_lines_and_is_not_repeated(self):
        file = self.write_job(job_file.aligned_only(self.output, evaluation=job_file.evaluation()))
        first = self.run_to_end(file)
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        self.assertEqual([c for c in first.stdout + first.stderr if ord(c) < 32 and c != "\n"], [])
        self.assertIn(str(self.output), first.stdout)
        report = json.loads((self.output / "regroup/report.json").read_text())
        self.assertEqual(report["version"], 1)
        self.assertGreater(report["result"]["perplexity"], 1)
        digest = digest_of(self.output / "model.safetensors")

        again = self.run_to_end(file, "--json")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(cluster.job_at_end(again)["state"], "JOB_STATE_SUCCEEDED")
        self.assertEqual(len(list((self.work / "jobs").iterdir())), 1, "the job was repeated")
        self.assertEqual(digest_of(self.output / "model.safetensors"), digest)
        self.assert_nothing_left()

    def test_a_gate_that_the_result_misses_publishes_nothing_and_exits_with_1(self):
        job = job_file.small_job(self.output, finetune={"method": "none"}, alignment={"method": "none"},
                                 evaluation=job_file.evaluation(), gates={"max_perplexity_ratio": 1.01})
        done = self.run_to_end(self.write_job(job))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("max_perplexity_ratio", done.stdout)
        self.assert_nothing_published()
        self.assert_nothing_left()


class Killed(RunCommandTest):
    def test_leaves_no_process_and_goes_on_from_the_checkpoint_when_run_again(self):
        file = self.write_job(job_file.small_job(self.output))
        running = self.start_in_background(file)
        self.wait_for_checkpoint(4)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        self.assert_nothing_left()
        self.assert_nothing_published()

        again = self.run_to_end(file, "--json")
        self.assertEqual(again.returncode, 0, again.stdout + again.stderr)
        job = cluster.job_at_end(again)
        repeated = {name: epoch for name, epoch in cluster.epochs(job).items() if epoch != 1}
        self.assertEqual(repeated, {"finetune": 2})
        self.assertEqual(len(list((self.work / "jobs").iterdir())), 1)
        self.assert_nothing_left()

    def test_its_programs_are_started_again(self):
        file = self.write_job(job_file.small_job(self.output))
        running = self.start_in_background(file)
        self.wait_for_checkpoint(4)
        for program in ("regroup-coordinator", "regroup-worker"):
            found = next(p for p in processes.processes_of(self.folder) if p.program == program)
            os.kill(found.pid, signal.SIGKILL)
        self.assertEqual(running.wait(timeout=300), 0, self.log.read_text())
        self.assertIn("; restarted", self.log.read_text())
        self.assert_nothing_left()


class Interrupted(RunCommandTest):
    def interrupt_training(self, signal_number):
        running = self.start_in_background(self.endless_job())
        self.wait_for_checkpoint(4)
        running.send_signal(signal_number)
        return running

    def test_by_control_c_the_job_is_cancelled_and_no_process_is_left(self):
        running = self.interrupt_training(signal.SIGINT)
        self.assertEqual(running.wait(timeout=120), 1, self.log.read_text())
        self.assertIn("cancelled", self.log.read_text())
        self.assert_nothing_left()
        self.assert_nothing_published()

    def test_by_a_second_control_c_it_stops_at_once(self):
        running = self.interrupt_training(signal.SIGINT)
        running.send_signal(signal.SIGINT)
        self.assertNotEqual(running.wait(timeout=120), 0, self.log.read_text())
        self.assert_nothing_left()
        self.assert_nothing_published()

    def test_by_a_closed_terminal_no_process_is_left(self):
        running = self.interrupt_training(signal.SIGHUP)
        self.assertNotEqual(running.wait(timeout=120), 0, self.log.read_text())
        self.assert_nothing_left()
        self.assert_nothing_published()


class TwoAtOnce(RunCommandTest):
    def test_in_one_working_folder_the_second_is_refused(self):
        file = self.endless_job()
        running = self.start_in_background(file)
        processes.wait_until(lambda: processes.trainers_of(self.folder, ""), "a trainer")
        second = self.run_to_end(file)
        self.assertIn(second.returncode, (2, 3))
        self.assertIn(str(self.work), second.stderr)
        running.send_signal(signal.SIGINT)
        self.assertEqual(running.wait(timeout=120), 1)
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
