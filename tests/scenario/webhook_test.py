"""Webhooks on a real coordinator: signed events that an independent library verifies, receivers that fail and come back, and
a coordinator that is killed between the end of a job and its delivery."""

import json
import os
import pathlib
import sys
import unittest
import urllib.request

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest
from harness.webhook_receiver import SECRET, Receiver

_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"


class WebhookTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        self.secret = self.folder / "hook.secret"
        self.secret.touch(mode=0o600)
        self.secret.write_text(SECRET + "\n")
        self.hooks = self.folder / "webhooks.yaml"
        self.hooks.write_text(json.dumps({"webhooks": [
            {"name": "all", "url": self.receiver.url, "secret_file": str(self.secret)},
            {"name": "bad-ones", "url": self.receiver.url, "secret_file": str(self.secret), "states": ["failed"]}]}))
        self.cluster = self.start_cluster(workers=1, slots=2, trainer=_TRAINER,
                                          coordinator_arguments=["--webhooks", self.hooks])

    def submit(self, name, behaviour="job"):
        job = job_file.aligned_only(self.results / name, name=name, source={"checkpoint": "/model"},
                                    calibration={"data": "/train.jsonl"}, labels={"behaviour": behaviour})
        return self.cluster.submit(self.write_job(job, f"{name}.yaml"))

    def wait_for(self, events):
        """Waits until exactly these events, type and job, have been accepted, by each webhook that asks for them."""
        def seen():
            return sorted((event["type"], event["data"]["name"]) for found in self.receiver.accepted().values()
                          for event in found[:1])
        processes.wait_until(lambda: seen() == sorted(events), f"{events}", 60, 0.2)

    def test_a_job_that_ends_is_told_once_and_signed(self):
        job = self.submit("good")
        self.assert_succeeded(self.cluster.wait_for_end(job))
        self.wait_for([("job.succeeded", f"jobs/{job}")])
        [(identity, [event])] = self.receiver.accepted().items()
        self.assertTrue(identity.startswith(f"{job}."))
        self.assertEqual(event["data"]["output"], str(self.results / "good"))
        self.assertEqual(event["data"]["state"], "JOB_STATE_SUCCEEDED")
        [(_, headers, _)] = self.receiver.requests
        self.assertEqual(headers["content-type"], "application/json")

    def test_a_receiver_that_fails_gets_the_event_when_it_is_back(self):
        self.receiver.statuses = [500]
        job = self.submit("late")
        self.cluster.wait_for_end(job)
        self.wait_for([("job.succeeded", f"jobs/{job}")])
        self.assertEqual([status for status, _, _ in self.receiver.requests], [500, 200])
        self.assertEqual(len({headers["webhook-id"] for _, headers, _ in self.receiver.requests}), 1)

    def test_a_cancelled_job_and_a_webhook_that_asks_for_some_states(self):
        job = self.submit("stopped", "hang")
        processes.wait_until(lambda: self.cluster.job(job)["state"] == "JOB_STATE_RUNNING", "its start", 60, 0.1)
        self.cluster.regroup("cancel", job, check=True)
        self.wait_for([("job.cancelled", f"jobs/{job}")])
        self.assertEqual([identity.rsplit(".", 1)[1] for identity in self.receiver.accepted()], ["all"])

    def test_its_counters_start_at_zero(self):
        """A rule by increase() does not see the first failure of a series that begins with it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.cluster.metrics_port}/metrics", timeout=30) as answer:
            metrics = answer.read().decode()
        for hook in ("all", "bad-ones"):
            for outcome in ("delivered", "failed", "dropped"):
                self.assertIn(f'regroup_webhook_deliveries_total{{hook="{hook}",outcome="{outcome}"}} 0\n', metrics)

    def test_a_killed_coordinator_tells_what_it_had_not(self):
        self.receiver.status = 503
        job = self.submit("unlucky")
        self.cluster.wait_for_end(job)
        processes.wait_until(lambda: self.receiver.requests, "an attempt", 60, 0.1)
        self.cluster.kill_coordinator()
        self.receiver.status = 200
        self.cluster.start_coordinator()
        self.wait_for([("job.succeeded", f"jobs/{job}")])

    def test_no_secret_is_shown_and_a_missing_one_is_named(self):
        job = self.submit("quiet")
        self.receiver.statuses = [400]
        self.cluster.wait_for_end(job)
        self.wait_for([("job.succeeded", f"jobs/{job}")])
        for file in (path for path in self.folder.rglob("*") if path.is_file() and path != self.secret):
            self.assertNotIn(SECRET.encode()[6:], file.read_bytes(), file)
        self.cluster.stop()
        self.secret.unlink()
        with self.assertRaisesRegex(AssertionError, "hook.secret"):
            self.cluster.start_coordinator()


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main()
