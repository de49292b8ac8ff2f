#!/usr/bin/env python3
"""A cancelled job publishes nothing and leaves no process behind, while its cluster serves the next one."""

import unittest

from harness import job_file
from harness.program_test import ProgramTest


class CancelTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        endless = job_file.small_job(self.output, finetune={"steps": 100000})
        self.job = self.cluster.submit(self.write_job(endless))

    def cancel(self):
        cancelled = self.cluster.json_of("cancel", self.job)
        self.assertIn(cancelled["state"], ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"))
        self.assertEqual(self.cluster.wait_for_end(self.job)["state"], "JOB_STATE_CANCELLED")
        self.assert_no_process_of("")
        self.assert_nothing_published()

    def test_while_a_gang_trains_all_its_ranks_end_and_the_slots_are_free_again(self):
        self.cluster.wait_for_checkpoint(self.job, 4)
        self.cancel()
        following = self.cluster.submit(self.write_job(job_file.aligned_only(self.output), "following.yaml"))
        self.assert_succeeded(self.cluster.wait_for_end(following))

    def test_while_layers_are_aligned(self):
        self.cluster.wait_for_trainers("align-")
        self.cancel()

    def test_while_the_coordinator_is_killed_in_between(self):
        self.cluster.wait_for_checkpoint(self.job, 4)
        self.cluster.regroup("cancel", self.job)
        self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        self.cancel()

    def test_twice_is_the_same_as_once(self):
        self.cluster.wait_for_trainers("inspect")
        self.cancel()
        self.cancel()


if __name__ == "__main__":
    unittest.main(verbosity=2)
