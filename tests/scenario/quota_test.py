"""Limits the owners of jobs by a file of quotas, on real programs: slots, unfinished jobs, and changes of the file."""

import os
import pathlib
import re
import subprocess
import sys
import unittest
import urllib.request

from harness import places, processes
from harness.program_test import ProgramTest

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"


class QuotaTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.tokens, self.quotas = self.folder / "tokens", self.folder / "quotas.yaml"
        for name, role in (("alice", "submitter"), ("bob", "submitter"), ("worker-1", "worker")):
            done = subprocess.run([places.PROGRAMS / "regroup-coordinator", "token", "add", name, "--role", role,
                                   "--tokens", self.tokens], check=True, capture_output=True, text=True, timeout=60)
            file = self.token_file(name)
            file.touch(mode=0o600)
            file.write_text(done.stdout)
        self.limit("alice: {slots: 1, jobs: 3}\n")
        self.cluster = self.start_cluster(
            workers=1, slots=4, trainer=_TRAINER, coordinator_arguments=["--tokens", self.tokens, "--quotas", self.quotas],
            worker_arguments=["--token-file", self.token_file("worker-1")])

    def token_file(self, name):
        return self.folder / f"{name}.token"

    def limit(self, text):
        """Replaces the file by a rename, so that no half of it is read."""
        new = self.folder / "new"
        new.write_text(text)
        os.rename(new, self.quotas)

    def submit(self, owner, number):
        job = {"name": f"{owner}-{number}", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
               "calibration": {"data": "/train.jsonl"}, "finetune": {"method": "none"},
               "output": {"checkpoint": str(self.results / f"{owner}-{number}")}, "labels": {"behaviour": "hang"}}
        return self.cluster.regroup("submit", self.write_job(job, f"{owner}-{number}.yaml"), "--token-file",
                                    self.token_file(owner))

    def jobs(self, owner):
        return {job["name"].removeprefix("jobs/").rsplit("-", 1)[0]: job
                for job in self.cluster.json_of("list", "--token-file", self.token_file(owner))["jobs"]}

    def running(self, owner):
        return sorted(name for name, job in self.jobs(owner).items() if job["state"] == "JOB_STATE_RUNNING")

    def readable(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.cluster.metrics_port}/metrics", timeout=10) as page:
            return re.search(r"^regroup_quotas_readable (\S+)$", page.read().decode(), re.MULTILINE)[1]

    def test_limits_slots_and_jobs_of_an_owner_and_follows_the_file(self):
        for number in range(3):
            self.assertEqual(self.submit("alice", number).returncode, 0)
        processes.wait_until(lambda: self.running("alice") == ["alice-0"], "the only slot of alice", 60, 0.2)
        refused = self.submit("alice", 3)
        self.assertEqual(refused.returncode, 3)
        self.assertIn('the quota of "alice" is 3 unfinished jobs', refused.stderr)
        # What alice may not use is left to others.
        for number in range(3):
            self.assertEqual(self.submit("bob", number).returncode, 0)
        processes.wait_until(lambda: len(self.running("bob")) == 3, "the other slots", 60, 0.2)
        self.assertEqual(self.running("alice"), ["alice-0"])
        self.assertEqual(self.jobs("alice")["alice-1"]["waiting_reason"],
                         "task needs 1 slot; the quota of alice is 1, of which 1 are in use")

        self.limit("alice: {slots: many}\n")
        processes.wait_until(lambda: self.readable() == "0", "the alarm", 60, 0.2)
        self.assertEqual(self.submit("alice", 3).returncode, 3, "the quotas that were read last stay in force")
        self.limit("alice: {slots: 2, jobs: 4}\n")
        processes.wait_until(lambda: self.readable() == "1", "the end of the alarm", 60, 0.2)
        self.assertEqual(self.submit("alice", 3).returncode, 0)
        [job] = [job for name, job in self.jobs("bob").items() if name == "bob-0"]
        self.cluster.regroup("cancel", job["name"], "--token-file", self.token_file("bob"), check=True)
        processes.wait_until(lambda: len(self.running("alice")) == 2, "a second slot of alice", 60, 0.2)

    def test_a_coordinator_does_not_start_with_a_file_that_it_cannot_use(self):
        self.limit("alice: {slots: 1, gpus: 2}\n")
        done = subprocess.run([places.PROGRAMS / "regroup-coordinator", "--listen", "127.0.0.1:0", "--work-dir",
                               self.folder / "other", "--quotas", self.quotas], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("quotas.yaml:1:19: alice.gpus is unknown; write slots or jobs", done.stderr)


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main()
