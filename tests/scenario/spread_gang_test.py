"""Runs a gang of four ranks on two workers of two slots each, under the real mpirun and regroup-rsh, over mutual TLS.

The workers' nodes are network namespaces. The ranks are fake trainers; tests/fault has a real conversion.
"""

import os
import pathlib
import shutil
import sys
import time
import unittest

from harness import nodes, processes
from harness.spread_gang import SpreadGangTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"

_LEASE_S = 3


class SpreadGang(SpreadGangTest):
    trainer = _TRAINER.name

    def setUp(self):
        super().setUp()
        self.nodes = nodes.Nodes(2)
        self.addCleanup(self.nodes.remove)

    def start(self, behaviour="job", **labels):
        """Submits a job whose calibration is the gang."""
        self.cluster = nodes.NodeCluster(self.folder, self.nodes, slots=2, lease_s=_LEASE_S, trainer=_TRAINER,
                                         worker_arguments=("--gang-join-s", 3))
        self.addCleanup(self.cluster.stop)
        file = self.write_job({"name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
                               "calibration": {"data": "/train.jsonl", "ranks": 4}, "finetune": {"method": "none"},
                               "output": {"checkpoint": str(self.output)},
                               "labels": {"behaviour": behaviour, **labels}})
        return self.cluster.submit(file)

    def start_long_gang(self):
        """Starts a gang that waits, with every rank known to the lead."""
        # inspect plays its part; the ranks of the gang, which are four, wait for a file that never comes.
        job = self.start("job-or-wait", go=str(self.folder / "go"))
        self.wait_for_ranks()
        out = self.cluster.work / "jobs" / job / "calibrate/1/out"
        processes.wait_until(lambda: len(list(out.glob("waits.*"))) == 4, "all ranks to attest", 60)
        # Later attempts continue from what this one has saved.
        self.saved = out.parent / "checkpoints/step-00000004/manifest.json"
        self.saved.parent.mkdir(parents=True)
        self.saved.write_text("{}")
        return job

    def end_well(self, job):
        """Asserts that the lost attempt starts again, and that the job succeeds."""
        self.wait_for_epoch(job, 2)
        self.assert_attempt_gone()
        self.assertTrue(self.saved.exists(), "the checkpoint of a lost attempt was removed")
        (self.folder / "go").touch()
        self.assert_succeeded(self.cluster.wait_for_end(job, 120))
        processes.wait_until(lambda: not self.saved.exists(), "the removal of what the lost attempt left", 30, 0.1)
        self.cluster.stop()
        self.assert_nothing_left(10)

    def test_runs_two_ranks_on_each_node(self):
        job = self.start()
        self.assert_succeeded(self.cluster.wait_for_end(job, 120))
        self.assertEqual(self.shares(job), {"worker-1": 2, "worker-2": 2})
        self.assertEqual(int(self.task(job)["epoch"]), 1)
        logs = self.cluster.work / "jobs" / job / "calibrate/1/logs"
        for rank in range(4):
            self.assertIn(f"played by rank {rank}", (logs / f"rank.{rank}/stdout").read_text())
        self.cluster.stop()
        self.assert_nothing_left(10)

    def test_starts_again_after_kill_9_of_the_lead_worker(self):
        job = self.start_long_gang()
        lead, _ = self.lead_and_helper(job)
        processes.kill_now(self.cluster.workers[lead])
        self.assert_attempt_gone()
        self.cluster.start_worker(lead)
        self.end_well(job)

    def test_starts_again_after_kill_9_of_the_helping_worker(self):
        job = self.start_long_gang()
        _, helper = self.lead_and_helper(job)
        processes.kill_now(self.cluster.workers[helper])
        self.assert_attempt_gone()
        self.cluster.start_worker(helper)
        self.end_well(job)

    def test_starts_again_after_kill_9_of_the_daemon(self):
        job = self.start_long_gang()
        os.kill(self.daemon().pid, 9)
        self.wait_for_epoch(job, 2)
        self.assert_lost(job, "^worker worker-. .* lost Open MPI's daemon .signal 9.")
        self.end_well(job)

    def test_starts_again_after_kill_9_of_a_rank_on_the_helping_worker(self):
        job = self.start_long_gang()
        daemon = self.daemon().pid
        os.kill(next(rank for rank in self.ranks() if rank.parent == daemon).pid, 9)
        self.wait_for_epoch(job, 2)
        self.assert_lost(job, "^rank [23] died .signal 9")
        self.end_well(job)

    def test_ends_on_all_nodes_when_the_helping_worker_is_stopped(self):
        job = self.start_long_gang()
        _, helper = self.lead_and_helper(job)
        self.cluster.workers[helper].terminate()
        self.cluster.workers[helper].wait(timeout=30)
        self.wait_for_failure(job)
        self.assert_lost(job, f"^worker {helper} .* ended its part: the worker was stopped")
        self.assert_attempt_gone()
        self.cluster.start_worker(helper)
        self.end_well(job)

    def test_ends_on_all_nodes_when_the_job_is_cancelled(self):
        job = self.start_long_gang()
        self.assertEqual(self.cluster.regroup("cancel", job).returncode, 0)
        self.assertEqual(self.cluster.wait_for_end(job, 60)["state"], "JOB_STATE_CANCELLED")
        self.assert_attempt_gone()
        self.cluster.stop()
        self.assert_nothing_left(10)

    def test_starts_again_after_the_helping_node_was_cut_off(self):
        job = self.start_long_gang()
        _, helper = self.lead_and_helper(job)
        self.nodes.cut(int(helper[-1]))
        self.assert_attempt_gone(patience_s=15)
        self.nodes.heal(int(helper[-1]))
        self.end_well(job)

    def test_starts_again_after_nobody_heard_the_helping_node(self):
        self.cut_one_way("from_node")

    def test_starts_again_after_the_helping_node_heard_nobody(self):
        self.cut_one_way("to_node")

    def cut_one_way(self, direction):
        job = self.start_long_gang()
        _, helper = self.lead_and_helper(job)
        self.nodes.lose(int(helper[-1]), **{direction: 100})
        self.assert_attempt_gone(patience_s=15)
        self.nodes.lose(int(helper[-1]))
        self.end_well(job)

    def test_goes_on_after_kill_9_of_the_coordinator(self):
        job = self.start_long_gang()
        before = {rank.pid for rank in self.ranks()}
        self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        for worker in self.cluster.workers:
            log = self.folder / f"{worker}.log"
            processes.wait_until(lambda: log.read_text().count('"message":"registered"') == 2, f"{worker} again", 30)
        # Longer than a lease, after which an attempt that is not listed would be lost.
        processes.wait_until(self.lease_passed(), "a lease", 30)
        self.assertEqual({rank.pid for rank in self.ranks()}, before)
        (self.folder / "go").touch()
        self.assert_succeeded(self.cluster.wait_for_end(job, 120))
        self.assertEqual(int(self.task(job)["epoch"]), 1)

    @staticmethod
    def lease_passed():
        end = time.monotonic() + _LEASE_S + 1
        return lambda: time.monotonic() > end

    def test_names_the_worker_that_did_not_join(self):
        self.nodes.block(1, 2)
        job = self.start()
        self.wait_for_failure(job)
        self.assert_lost(job, r"^worker worker-2 \(10.77.0.3:7448\) did not join the gang: ")
        self.assertEqual(self.cluster.regroup("cancel", job).returncode, 0)

    def wait_for_failure(self, job):
        processes.wait_until(lambda: self.task(job).get("failure"), "the failure", 60, 0.1)


if __name__ == "__main__":
    why_not = nodes.why_not() or ("" if _TRAINER.exists() else f"{_TRAINER} is not built") or \
        ("" if shutil.which("mpirun") else "mpirun is not installed")
    if why_not:
        print(f"SKIPPED: {why_not}", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
