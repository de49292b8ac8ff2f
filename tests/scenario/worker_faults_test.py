"""Hits workers with kill -9 and SIGSTOP repeatedly while their attempts are in every state: the job ends as it should,
no result is applied twice, nothing stays beside it, and no process of a lost attempt is left ten seconds later.

A killed worker is restarted, as a service manager does. A stopped one continues after a while, before its lease ends or
after. If after, the ranks that talk to it have exited by themselves, and its other processes must be gone ten seconds
after the worker continues.

It makes REGROUP_TEST_KILLS faults (default 10), at moments from REGROUP_TEST_SEED.
"""

import collections
import itertools
import os
import pathlib
import random
import signal
import sys
import time
import unittest

from harness import cluster, history, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
_FAULTS = int(os.environ.get("REGROUP_TEST_KILLS", "10"))
_SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(10**6)))
_LEASE_S = 4
# The promise: by then no process of a lost attempt is left.
_GONE_S = 10
# In which the trainer waits, and the task that it waits in; a gang of two in calibrate.
_HELD = {"starting": ("start", None), "running": ("run", None), "gang": ("run", "calibrate"),
         "staged": ("staged", "report"), "reported": ("reported", None), "publishing": ("staged", "report"),
         "published": ("staged", "report"), "stopping": ("stubborn", None)}
# In these the ranks talk to their worker, and so notice that it stands still.
_TALKING = ("running", "gang", "staged")
_STATES = ("assigned", *_HELD)
_FAULT_NAMES = ("kill", "stop shortly", "stop for long")
_TASKS = ("inspect", "calibrate", "align-001", "export", "report")


class WorkerFaults(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"REGROUP_TEST_SEED={_SEED} REGROUP_TEST_KILLS={_FAULTS}", file=sys.stderr)
        self.random = random.Random(_SEED)
        self.cluster = self.start_cluster(workers=2, slots=2, lease_s=_LEASE_S, trainer=_TRAINER)
        processes.wait_until(lambda: len(self.cluster.json_of("workers").get("workers", [])) == 2, "both workers", 60, 0.2)
        self.number = 0
        self.ends = collections.Counter()

    def test_lose_nothing_and_leave_nothing(self):
        faults = list(itertools.product(_STATES, _FAULT_NAMES))
        self.random.shuffle(faults)
        for state, fault in itertools.islice(itertools.cycle(faults), _FAULTS):
            began = time.monotonic()
            self.number += 1
            with self.subTest(number=self.number, state=state, fault=fault):
                try:
                    end = self.go_through(state, fault)
                finally:
                    self.wake_all()
                self.ends[end] += 1
                print(f"{self.number}: {state}, {fault}: {end} after {time.monotonic() - began:.1f} s", file=sys.stderr)
        print(f"{self.number} faults: {dict(self.ends)}", file=sys.stderr)
        self.assert_no_result_came_twice()
        self.cluster.stop()
        self.assert_nothing_left(_GONE_S)

    def wake_all(self):
        for worker in self.cluster.workers.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)

    # One fault.

    def go_through(self, state, fault):
        """Inflicts the fault, and returns what became of the attempt, in a word."""
        self.go = self.folder / f"go-{self.number}"
        self.output = self.results / f"model-{self.number}"
        bring_about = self.assign_to_a_stopped_worker if state == "assigned" else self.hold
        job, attempt, victim = bring_about(state, fault)
        watched = history.History(self.cluster, job)
        self.addCleanup(watched.stop)
        if state == "stopping":
            self.cancel(job, victim)
        elif state == "publishing":
            self.go.touch()
            time.sleep(self.random.uniform(0, 0.4))
        elif state == "published":
            self.go.touch()
            processes.wait_until(self.output.exists, "the result", 30, 0)
        self.inflict(state, fault, victim, job, attempt)
        self.go.touch()
        done = self.cluster.wait_for_end(job, 120)
        self.assert_gone(lambda: processes_of_attempt(f"{job}/"), "job")
        self.assert_ended_well(done, state, watched)
        return "went on" if self.epoch_of(done, attempt) == 1 else "started again"

    def hold(self, state, fault):
        """Returns a job with one attempt in the state, the attempt, and its worker."""
        place, task = _HELD[state]
        task = task or self.random.choice(_TASKS)
        # A killed worker's processes may have gone out of reach; its successor knows them.
        ranks = 2 if state == "gang" else 1
        # Of a gang both ranks would leave one under one name.
        has_daemon = self.random.random() < 0.3 and ranks == 1
        job = self.submit(ranks, hold=place, task=task, daemon="yes" if has_daemon else "no")
        held = f"jobs/{job}/{task}/1/out/held.*"
        processes.wait_until(lambda: len(list(self.cluster.work.glob(held))) == ranks, f"{task} to be {place}", 60)
        return job, f"{job}/{task}/1", self.worker_of(job, task)

    def assign_to_a_stopped_worker(self, _state, _fault):
        """Returns a job whose first task was assigned to a stopped worker, so that the answer waits in its socket."""
        victim, other = self.random.sample(sorted(self.cluster.workers), 2)
        self.assertEqual(self.cluster.regroup("drain", other).returncode, 0)
        time.sleep(0.3)
        self.cluster.workers[victim].send_signal(signal.SIGSTOP)
        job = self.submit(1, hold="nowhere", task="inspect")
        try:
            processes.wait_until(lambda: self.worker_of(job, "inspect") == victim, "the assignment", 2 * _LEASE_S, 0.05)
        finally:
            self.cluster.regroup("undrain", other)
        return job, f"{job}/inspect/1", victim

    def submit(self, ranks, **labels):
        return self.cluster.submit(self.write_job({
            "name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
            "calibration": {"data": "/train.jsonl", "ranks": ranks}, "finetune": {"method": "none"},
            "output": {"checkpoint": str(self.output)},
            "labels": {"behaviour": "job-held", "go": str(self.go), **labels}}))

    def worker_of(self, job, task):
        found = next((one for one in self.cluster.job(job)["tasks"] if one["name"].endswith(f"/{task}")), {})
        return found.get("worker", "").removeprefix("workers/")

    def cancel(self, job, victim):
        """Cancels a job whose trainer ignores SIGTERM, so that stopping it takes seconds."""
        self.assertEqual(self.cluster.regroup("cancel", job).returncode, 0)
        log = self.folder / f"{victim}.log"
        processes.wait_until(lambda: any(job in line and "stopping the attempt" in line
                                         for line in log.read_text().splitlines()), "the worker to stop it", 20)

    def ranks_of(self, attempt):
        """Returns the attempt's ranks, without the descendant that left its session."""
        daemon = self.cluster.work / "jobs" / attempt / "out/escaped"
        spared = int(daemon.read_text()) if daemon.exists() else 0
        return [process for process in processes_of_attempt(attempt)
                if process.program == _TRAINER.name and process.pid != spared]

    def inflict(self, state, fault, victim, job, attempt):
        """Inflicts the fault. Returns when no process of the attempt is left, or it was never lost."""
        worker = self.cluster.workers[victim]
        if fault == "kill":
            processes.kill_now(worker)
            time.sleep(self.random.uniform(0, 2))
            self.cluster.start_worker(victim)
            self.assert_gone(lambda: processes_of_attempt(attempt), "killed attempt")
            return
        worker.send_signal(signal.SIGSTOP)
        if fault == "stop shortly":
            time.sleep(self.random.uniform(0.1, 0.6 * _LEASE_S))
            worker.send_signal(signal.SIGCONT)
            return
        processes.wait_until(lambda: self.is_lost(job, attempt), "the loss of the attempt", 60, 0.1)
        if state in _TALKING:
            self.assertEqual(self.ranks_of(attempt), [], "a rank outlived the lease of its worker")
        time.sleep(self.random.uniform(0, 2))
        worker.send_signal(signal.SIGCONT)
        self.assert_gone(lambda: processes_of_attempt(attempt), "stopped attempt")

    def is_lost(self, job, attempt):
        """Returns true if the coordinator has given the attempt up, or knows its end."""
        now = self.cluster.job(job)
        task = next(task for task in now["tasks"] if task["name"].endswith("/" + attempt.split("/")[1]))
        return now["state"] in cluster.FINAL_STATES or task["state"] != "TASK_STATE_RUNNING" or int(task["epoch"]) > 1

    # What must hold.

    def assert_gone(self, find, what):
        try:
            processes.wait_until(lambda: not find(), what, _GONE_S, 0.1)
        except AssertionError:
            self.fail(f"left of the {what} after {_GONE_S} s: " + "; ".join(map(str, find())))

    def assert_ended_well(self, job, state, watched):
        hidden = [path.name for path in self.results.iterdir() if path.name.startswith(".")]
        processes.wait_until(lambda: not any(path.name.startswith(".") for path in self.results.iterdir()),
                             f"the removal of {hidden}", _GONE_S, 0.1)
        if state == "stopping":
            self.assertEqual(job["state"], "JOB_STATE_CANCELLED", job.get("failure"))
            self.assertFalse(self.output.exists())
        else:
            self.assert_succeeded(job)
            self.assertIn(job["name"], (self.output / "regroup/report.json").read_text())
        self.assertEqual(watched.violations(), [])

    def assert_no_result_came_twice(self):
        accepted = history.accepted_successes(self.folder.glob("worker-*.log"))
        self.assertEqual({task: epochs for task, epochs in accepted.items() if len(epochs) > 1}, {})

    def epoch_of(self, job, attempt):
        return cluster.epochs(job)[attempt.split("/")[1]]


def processes_of_attempt(attempt):
    """Returns every process that was started for the attempt, in any group or session, found by its environment."""
    return processes.processes_with(f"REGROUP_ATTEMPT={attempt}")


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
