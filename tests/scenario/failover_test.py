"""Runs two coordinators on one PostgreSQL and kills the leader with kill -9 repeatedly, while jobs are submitted and
run, and stops one for longer than its lease: nothing acknowledged is lost, and only the leader writes.

It makes REGROUP_TEST_KILLS kills (default 3), at moments from REGROUP_TEST_SEED.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

from harness import cluster, pair, postgres, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
_KILLS = int(os.environ.get("REGROUP_TEST_KILLS", "3"))
_SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(10**6)))
# The promise: a second coordinator takes over within this time.
_TAKEOVER_S = 10


class Failover(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"REGROUP_TEST_SEED={_SEED}", file=sys.stderr)
        self.random = random.Random(_SEED)
        self.database = postgres.Postgres()
        self.addCleanup(self.database.stop)
        self.pair = pair.Pair(self.folder, self.database.url, workers=1, slots=4, lease_s=20, trainer=_TRAINER)
        self.addCleanup(self.pair.stop)
        self.leader = self.pair.wait_for_leader()

    def write_small_job(self, number, **labels):
        output = self.results / f"model-{number}"
        return output, self.write_job({"name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
                                       "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
                                       "output": {"checkpoint": str(output)}, "labels": {"behaviour": "job", **labels}},
                                      f"job-{number}.yaml")

    def take_over(self):
        """Kills the leader with kill -9. Returns the time until the other one answered."""
        processes.kill_now(self.pair.members[self.leader])
        killed = time.monotonic()
        self.leader = self.pair.wait_for_leader([1 - self.leader])
        return time.monotonic() - killed

    def final_job(self, name):
        done = self.pair.regroup("get", name.removeprefix("jobs/"), "--json")
        job = json.loads(done.stdout) if done.returncode == 0 else {"state": ""}
        return job if job["state"] in cluster.FINAL_STATES else None

    def test_of_killed_leaders_loses_no_acknowledged_job(self):
        acknowledged, stopping = {}, threading.Event()

        def submit_until_stopped():
            number = 0
            while not stopping.is_set():
                number += 1
                output, file = self.write_small_job(number)
                try:
                    done = self.pair.regroup("submit", file, "--json", patience_s=30)
                except subprocess.TimeoutExpired:
                    continue
                if done.returncode == 0:
                    acknowledged[json.loads(done.stdout)["name"]] = output
                time.sleep(0.3)

        user = threading.Thread(target=submit_until_stopped)
        user.start()
        takeovers = []
        try:
            for _ in range(_KILLS):
                time.sleep(self.random.uniform(0.5, 3))
                fallen = self.leader
                takeovers.append(self.take_over())
                self.pair.start_member(fallen)
            processes.wait_until(lambda: len(acknowledged) >= 5, "a few acknowledged jobs", 120)
        finally:
            stopping.set()
            user.join()
        times = ", ".join(f"{seconds:.1f}" for seconds in takeovers)
        print(f"{_KILLS} kills, {len(acknowledged)} acknowledged jobs, takeovers after {times} s", file=sys.stderr)
        self.assertLess(max(takeovers), _TAKEOVER_S)
        for name, output in acknowledged.items():
            job = processes.wait_until(lambda: self.final_job(name), f"the end of {name}", 120, 0.2)
            self.assert_succeeded(job)
            self.assertTrue((output / "regroup/report.json").exists(), f"{name} has its result")
        entries = self.pair.json_of("audit", "--limit", 1000)["entries"]
        submitted = sorted(entry["resource"] for entry in entries if entry["method"] == "JobService/SubmitJob")
        listed = sorted(job["name"] for job in self.pair.json_of("list", "--limit", 1000)["jobs"])
        self.assertEqual(submitted, listed, "an entry is stored with its job or not at all")
        self.assertLessEqual(set(acknowledged), set(listed))

    def test_leaves_running_attempts_alone(self):
        _, file = self.write_small_job(1, stay="staged")
        job = self.pair.submit(file)
        processes.wait_until(lambda: any(self.results.iterdir()), "the staged result", 60)
        trainers = self.trainers()
        self.take_over()
        time.sleep(3)
        self.assertEqual(self.trainers(), trainers)
        tasks = self.pair.job(job)["tasks"]
        self.assertEqual({int(task.get("epoch", 1)) for task in tasks}, {1})
        self.assertEqual(self.pair.regroup("cancel", job).returncode, 0)
        processes.wait_until(lambda: self.final_job(job), "the end", 60)

    def trainers(self):
        return {process.pid for process in processes.processes_of(self.folder) if process.program == _TRAINER.name}

    def test_refuses_calls_to_the_standby_and_names_the_leader(self):
        standby = 1 - self.leader
        done = self.pair.ask(standby, "list")
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"call {self.pair.address_of(self.leader)}", done.stderr)

    def test_lets_a_leader_that_stood_still_write_nothing(self):
        old = self.leader
        stopped = self.pair.members[old]
        stopped.send_signal(signal.SIGSTOP)
        self.leader = self.pair.wait_for_leader([1 - old])
        _, late = self.write_small_job(1)
        # Waits in the socket of the one that stands still until that goes on.
        arguments = [cluster.places.PROGRAMS / "regroup", "submit", late]
        call = processes.start(arguments, env=dict(os.environ, REGROUP_COORDINATOR=self.pair.address_of(old)),
                               stderr=subprocess.PIPE, text=True)
        _, file = self.write_small_job(2)
        acknowledged = self.pair.json_of("submit", file)["name"]
        fencing = self.database.query("SELECT fencing FROM regroup.term")
        stopped.send_signal(signal.SIGCONT)
        _, refusal = call.communicate(timeout=60)
        self.assertEqual(call.returncode, 3, refusal)
        self.assertNotEqual(stopped.wait(timeout=30), 0, "a coordinator that was replaced has not done its duty")
        self.assertIn("does not lead", (self.folder / f"coordinator-{old}.log").read_text())
        self.assertEqual(self.database.query("SELECT fencing FROM regroup.term"), fencing)
        self.assertEqual([job["name"] for job in self.pair.json_of("list")["jobs"]], [acknowledged])
        # Started again, as a service manager does, it is the standby.
        self.pair.start_member(old)
        self.assertEqual(self.pair.ask(old, "list").returncode, 3)


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
