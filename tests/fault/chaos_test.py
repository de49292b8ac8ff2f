#!/usr/bin/env python3
"""Kills and stops any program of a cluster, coordinator, worker, mpirun or rank, at random moments while jobs run: every
result is that of an undisturbed job, bit for bit, and nothing is left.

REGROUP_TEST_CHAOS_JOBS sets the number of disturbed jobs for each cluster, of one worker and of two; REGROUP_TEST_SEED the
moments.
"""

import collections
import os
import random
import signal
import sys
import time
import unittest

from harness import job_file, processes
from harness.cluster import FINAL_STATES
from harness.program_test import ProgramTest, digest_of

JOBS = int(os.environ.get("REGROUP_TEST_CHAOS_JOBS", "1"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 32)))
_BLOWS = 4
_LEASE_S = 5
_PROGRAMS = ("regroup-coordinator", "regroup-worker", "mpirun", "regroup-trainer")


class ChaosTest(ProgramTest):
    def submit(self, name):
        self.output = self.results / name
        return self.cluster.submit(self.write_job(job_file.small_job(
            self.output, name=name, alignment={"method": "principal"},
            layerwise={"method": "distill", "sequences": 32, "sequence_length": 64, "layers_per_task": 2},
            finetune={"method": "direct", "steps": 40}, evaluation=job_file.evaluation(windows=4))))

    def state(self, job):
        """Returns the job's state; none while no coordinator answers."""
        done = self.cluster.regroup("get", job, "--json")
        return self.cluster.job(job)["state"] if done.returncode == 0 else None

    def victim(self, moments):
        """Returns a program of the cluster, each kind as likely as the others; none if nothing runs."""
        kinds = collections.defaultdict(list)
        for process in processes.processes_of(self.folder):
            if process.program in _PROGRAMS:
                kinds[process.program].append(process)
        return moments.choice(kinds[moments.choice(sorted(kinds))]) if kinds else None

    def strike(self, moments):
        """Kills or stops a program and has an administrator start it again, as systemd would. Returns what was done."""
        process = self.victim(moments)
        if process is None:
            return "nothing"
        if moments.random() < 0.5:
            processes.signal_if_alive(process.pid, signal.SIGSTOP)
            # Shorter and longer than a lease.
            seconds = moments.uniform(0.1, 1.5 * _LEASE_S)
            time.sleep(seconds)
            processes.signal_if_alive(process.pid, signal.SIGCONT)
            return f"{process.program} stopped for {seconds:.1f} s"
        processes.signal_if_alive(process.pid, signal.SIGKILL)
        time.sleep(moments.uniform(0, 1))
        if process.pid == self.cluster.coordinator.pid:
            self.cluster.coordinator.wait()
            self.cluster.start_coordinator()
        for name, worker in list(self.cluster.workers.items()):
            if process.pid == worker.pid:
                worker.wait()
                self.cluster.start_worker(name)
        return f"{process.program} killed"

    def disturbed(self, name, moments):
        """Returns the digest of the weights. A job that lost more attempts than it may have is retried, as users do."""
        job = self.submit(name)
        blows = []
        for _ in range(_BLOWS):
            time.sleep(moments.uniform(0, 4))
            if self.state(job) in FINAL_STATES:
                break
            blows.append(self.strike(moments))
        print(f"{name}: {'; '.join(blows)}", file=sys.stderr)
        for _ in range(_BLOWS):
            done = self.cluster.wait_for_end(job, 600)
            if done["state"] == "JOB_STATE_SUCCEEDED":
                break
            self.assertEqual(done["failure"]["failure_class"], "FAILURE_CLASS_INFRA", done["failure"])
            self.cluster.regroup("retry", job, check=True)
        self.assert_succeeded(done)
        return digest_of(self.output / "model.safetensors")

    def keeps_every_bit(self, workers):
        moments = random.Random(SEED + workers)
        self.cluster = self.start_cluster(workers=workers, slots=2, lease_s=_LEASE_S)
        job = self.submit("undisturbed")
        self.assert_succeeded(self.cluster.wait_for_end(job, 600))
        undisturbed = digest_of(self.output / "model.safetensors")
        for number in range(JOBS):
            with self.subTest(seed=SEED, job=number):
                self.assertEqual(self.disturbed(f"disturbed-{number}", moments), undisturbed)
        self.assertEqual([path.name for path in self.results.iterdir() if path.name.startswith(".")], [])
        self.cluster.stop()
        self.assert_nothing_left(60)

    def test_one_worker(self):
        self.keeps_every_bit(1)

    def test_two_workers(self):
        self.keeps_every_bit(2)


if __name__ == "__main__":
    print(f"REGROUP_TEST_SEED={SEED} REGROUP_TEST_CHAOS_JOBS={JOBS}", file=sys.stderr)
    unittest.main(verbosity=2)
