"""Kills the coordinator with kill -9 repeatedly, while jobs are submitted and run: nothing acknowledged is lost,
nothing is done twice, and the audit log matches the changes exactly.

It makes REGROUP_TEST_KILLS kills (default 8), at moments from REGROUP_TEST_SEED.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

from harness import cluster, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
_KILLS = int(os.environ.get("REGROUP_TEST_KILLS", "8"))
_SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(10**6)))


class KilledCoordinator(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"REGROUP_TEST_SEED={_SEED}", file=sys.stderr)
        self.random = random.Random(_SEED)
        self.cluster = self.start_cluster(workers=1, slots=4, lease_s=3, trainer=_TRAINER)
        self.acknowledged = {}
        self.stopping = threading.Event()

    def submit_until_stopped(self):
        """Plays a user: submits one job after the other; a submission that fails was not acknowledged."""
        number = 0
        while not self.stopping.is_set():
            number += 1
            output = self.results / f"model-{number}"
            file = self.write_job({"name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
                                   "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
                                   "output": {"checkpoint": str(output)}, "labels": {"behaviour": "job"}},
                                  f"job-{number}.yaml")
            try:
                done = cluster.run_regroup("submit", file, "--json", coordinator=self.cluster.address, patience_s=20)
            except subprocess.TimeoutExpired:
                continue
            if done.returncode == 0:
                self.acknowledged[json.loads(done.stdout)["name"]] = output
            time.sleep(0.3)

    def final_job(self, name):
        job = self.cluster.job(name.removeprefix("jobs/"))
        return job if job["state"] in cluster.FINAL_STATES else None

    def test_keeps_every_promise(self):
        user = threading.Thread(target=self.submit_until_stopped)
        user.start()
        try:
            for _ in range(_KILLS):
                time.sleep(self.random.uniform(0.1, 1.2))
                self.cluster.kill_coordinator()
                self.cluster.start_coordinator()
            processes.wait_until(lambda: len(self.acknowledged) >= 5, "a few acknowledged jobs", 60)
        finally:
            self.stopping.set()
            user.join()
        print(f"{_KILLS} kills, {len(self.acknowledged)} acknowledged jobs", file=sys.stderr)
        for name, output in self.acknowledged.items():
            job = processes.wait_until(lambda: self.final_job(name), f"the end of {name}", 90, 0.2)
            self.assert_succeeded(job)
            self.assertTrue((output / "regroup/report.json").exists(), f"{name} has its result")
        self.assert_the_audit_log_is_that_of_the_jobs()
        self.cluster.stop()
        self.assert_nothing_left()
        # Of a job that was stored but not acknowledged the user knows nothing; its result may be there as well.
        for path in self.results.iterdir():
            self.assertFalse(path.name.startswith("."), f"{path} was left")

    def assert_the_audit_log_is_that_of_the_jobs(self):
        entries = self.cluster.json_of("audit", "--limit", 1000)["entries"]
        submitted = sorted(entry["resource"] for entry in entries if entry["method"] == "JobService/SubmitJob")
        listed = sorted(job["name"] for job in self.cluster.json_of("list", "--limit", 1000)["jobs"])
        self.assertEqual(submitted, listed, "an entry is stored with its job or not at all")
        self.assertLessEqual(set(self.acknowledged), set(listed))


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
