"""Runs jobs over a network that cuts a node off in one direction, and over one that loses three packets in ten: every
job succeeds, late messages of an attempt that was given up are rejected, nothing is applied twice and nothing is left
behind.

The nodes are network namespaces, all calls use mutual TLS, and netfilter drops the packets on arrival, so that the
sender gets no error. The test makes REGROUP_TEST_CUTS one-way cuts (default 4), at moments from REGROUP_TEST_SEED.
"""

import os
import pathlib
import random
import sys
import time
import unittest

from harness import cluster, history, nodes, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
_CUTS = int(os.environ.get("REGROUP_TEST_CUTS", "4"))
_SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(10**6)))
_LEASE_S = 4
# Packets of a hundred that are lost, each way.
_LOSS = 30
_JOBS_UNDER_LOSS = 8
# How long the first of them run, in which many heartbeats get lost.
_LONG_JOBS, _LONG_S = 2, 20


class LossyNetwork(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"REGROUP_TEST_SEED={_SEED}", file=sys.stderr)
        self.random = random.Random(_SEED)
        self.nodes = nodes.Nodes(2)
        self.addCleanup(self.nodes.remove)

    def start(self, lease_s):
        self.cluster = nodes.NodeCluster(self.folder, self.nodes, slots=2, lease_s=lease_s, trainer=_TRAINER)
        self.addCleanup(self.cluster.stop)

    def submit(self, number, **labels):
        """Submits a job and returns it with its history."""
        job = self.cluster.submit(self.write_job({
            "name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
            "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
            "output": {"checkpoint": str(self.results / f"model-{number}")},
            "labels": {"behaviour": "job-held", "go": str(self.go(number)), **labels}}))
        watched = history.History(self.cluster, job)
        self.addCleanup(watched.stop)
        return job, watched

    def go(self, number):
        return self.folder / f"go-{number}"

    def worker_logs(self):
        return list(self.folder.glob("worker-*.log"))

    def assert_ended_well(self, number, done, watched):
        self.assert_succeeded(done)
        self.assertIn(done["name"], (self.results / f"model-{number}/regroup/report.json").read_text())
        self.assertEqual(watched.violations(), [])

    def assert_the_end(self):
        """Asserts that nothing was applied twice, and that no process and no file is left once the programs stop."""
        accepted = history.accepted_successes(self.worker_logs())
        self.assertEqual({task: epochs for task, epochs in accepted.items() if len(epochs) > 1}, {})
        hidden = [path.name for path in self.results.iterdir() if path.name.startswith(".")]
        processes.wait_until(lambda: not any(path.name.startswith(".") for path in self.results.iterdir()),
                             f"the removal of {hidden}", 10, 0.1)
        self.cluster.stop()
        self.assert_nothing_left(10)

    # One direction.

    def test_that_cuts_one_direction_costs_an_attempt_and_no_result(self):
        self.start(_LEASE_S)
        for number in range(_CUTS):
            direction = ("from_node", "to_node")[number % 2]
            # Held to the end of the cut, or done while nobody hears of it.
            task, ends_inside = (("inspect", False), ("inspect", True), ("report", True))[number // 2 % 3]
            with self.subTest(number=number, direction=direction, task=task, ends_inside=ends_inside):
                self.cut_one_way(number, direction, task, ends_inside)
        logs = self.worker_logs()
        refused, accepted = history.refused_ends(logs), history.accepted_successes(logs)
        print(f"{_CUTS} one-way cuts; refused ends of old attempts: {len(refused)}", file=sys.stderr)
        for job, task, epoch in refused:
            self.assertLess(int(epoch), min(map(int, accepted[job, task])), (job, task))
        self.assert_the_end()

    def cut_one_way(self, number, direction, task, ends_inside):
        job, watched = self.submit(number, hold="staged" if task == "report" else "run", task=task)
        attempt = f"REGROUP_ATTEMPT={job}/{task}/1"
        held = self.cluster.work / "jobs" / job / task / "1/out/held.0"
        processes.wait_until(held.exists, f"{task} to wait", 60)
        worker = self.task(job, task)["worker"].removeprefix("workers/")
        node = int(worker[-1])
        self.nodes.lose(node, **{direction: 100})
        cut = time.monotonic()
        if ends_inside:
            time.sleep(self.random.uniform(0, 1))
            self.go(number).with_suffix(".1").touch()
        processes.wait_until(lambda: not processes.processes_with(attempt), "the worker to end its processes",
                             _LEASE_S + 5, 0.1)
        gone = time.monotonic() - cut
        processes.wait_until(lambda: self.is_given_up(job, task), "the other node's turn", 30, 0.1)
        self.assertEqual(processes.processes_with(attempt), [], "an old process outlived the new attempt")
        time.sleep(self.random.uniform(0, 2))
        dropped = dict(zip(("from_node", "to_node"), self.nodes.lost_and_kept(node)))[direction][0]
        self.nodes.lose(node)
        if ends_inside:
            self.wait_for_refusal(worker, job)
        self.go(number).touch()
        done = self.cluster.wait_for_end(job, 120)
        self.assert_ended_well(number, done, watched)
        # A worker whose requests arrive, while it hears no answer, may be given the next attempt too, and lose it.
        attempts = cluster.epochs(done)[task]
        self.assertIn(attempts, (2, 3) if direction == "to_node" else (2,))
        self.assertGreater(dropped, 0)
        print(f"{number}: {task} cut {direction}: {attempts} attempts, gone after {gone:.1f} s, {dropped} packets dropped",
              file=sys.stderr)
        self.wait_for_worker(worker)

    def task(self, job, task):
        return next(one for one in self.cluster.job(job)["tasks"] if one["name"].endswith(f"/{task}"))

    def is_given_up(self, job, task):
        now = self.task(job, task)
        return int(now["epoch"]) > 1 and now["state"] != "TASK_STATE_READY"

    def wait_for_refusal(self, worker, job):
        log = self.folder / f"{worker}.log"
        processes.wait_until(lambda: any(refused[0] == job for refused in history.refused_ends([log])),
                             f"the refusal of what {worker} tells late", 30, 0.2)

    def wait_for_worker(self, worker):
        def is_ready():
            found = self.cluster.json_of("workers").get("workers", [])
            return any(one["name"].endswith("/" + worker) and one["state"] == "WORKER_STATE_READY" for one in found)
        processes.wait_until(is_ready, f"{worker} to be back", 60, 0.2)

    # Some of everything.

    def test_that_loses_three_packets_in_ten_delays_jobs_and_no_more(self):
        self.start(lease_s=10)
        for node in (1, 2):
            self.nodes.lose(node, from_node=_LOSS, to_node=_LOSS)
        began = time.monotonic()
        jobs = [self.submit(number, **({"hold": "run", "task": "calibrate"} if number < _LONG_JOBS else {}))
                for number in range(_JOBS_UNDER_LOSS)]
        time.sleep(max(0, began + _LONG_S - time.monotonic()))
        for number in range(_LONG_JOBS):
            self.go(number).touch()
        restarts = 0
        for number, (job, watched) in enumerate(jobs):
            done = self.cluster.wait_for_end(job, 300)
            self.assert_ended_well(number, done, watched)
            restarts += sum(epoch - 1 for epoch in cluster.epochs(done).values())
        counts = [counts for node in (1, 2) for counts in self.nodes.lost_and_kept(node)]
        lost, kept = map(sum, zip(*counts))
        print(f"{len(jobs)} jobs, {restarts} restarted attempts; {lost} of {lost + kept} packets lost", file=sys.stderr)
        self.assertGreater(lost, 100)
        self.assertAlmostEqual(lost / (lost + kept), _LOSS / 100, delta=0.1)
        for node in (1, 2):
            self.nodes.lose(node)
        self.assert_the_end()


if __name__ == "__main__":
    why_not = nodes.why_not() or ("" if _TRAINER.exists() else f"{_TRAINER} is not built")
    if why_not:
        print(f"SKIPPED: {why_not}", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
