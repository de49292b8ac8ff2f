#!/usr/bin/env python3
"""The whole story of a platform engineer, on real processes: a job whose model lies on a hub and whose text and result lie
in a bucket, submitted by the Python client with a JSON Web Token, paused and resumed, followed in TensorBoard and MLflow, and
told to a webhook at its end."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest
import unittest.mock

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harness import bucket_server, hub_server, job_file, jwt_issuer, places, processes
from harness.program_test import ProgramTest
from harness.webhook_receiver import SECRET, Receiver

sys.path[:0] = [os.environ["REGROUP_PYTHON_CLIENT"], str(places.REPOSITORY / "tests/python")]

import regroup  # noqa: E402
from mlflow_server import MlflowServer  # noqa: E402

CLIENT_PYTHON = places.REPOSITORY / "build/python-client/bin/python"
HUB_TOKEN = "hf_a_secret_of_the_hub"
STEPS, CHECKPOINT = 60, 20
RULES = """
rules:
  - {claim: groups, value: ml-platform, role: submitter}
  - {claim: groups, value: machines, role: worker, worker_claim: sub}
"""
EXPORT = """
import sys, regroup, regroup.mlflow
target, token_file, job, tracking = sys.argv[1:]
with regroup.Client(target, token_file=token_file) as client:
    print(regroup.mlflow.export(client, job, tracking_uri=tracking, experiment="conversions"))
"""
READ = """
import json, sys
from mlflow.tracking import MlflowClient
run = MlflowClient(tracking_uri=sys.argv[1]).get_run(sys.argv[2])
print(json.dumps({"status": run.info.status, "tags": run.data.tags, "params": run.data.params, "metrics": run.data.metrics}))
"""


class StoryTest(ProgramTest):
    def setUp(self):
        super().setUp()
        shutil.copytree(places.MODEL, self.folder / "repositories" / "org" / "demo")
        self.hub = hub_server.Hub(self.folder / "repositories", hub_server.make_certificate(self.folder), token=HUB_TOKEN)
        self.addCleanup(self.hub.stop)
        self.bucket = bucket_server.BucketServer(self.folder)
        self.addCleanup(self.bucket.stop)
        self.bucket.s3.upload_file(str(places.TRAINING_TEXT), bucket_server.BUCKET, "texts/train.jsonl")
        self.bucket.s3.upload_file(str(places.HELD_OUT_TEXT), bucket_server.BUCKET, "texts/valid.jsonl")
        self.enterContext(unittest.mock.patch.dict(os.environ, {**self.hub.environment(), **self.bucket.environment()}))
        self.issuer = jwt_issuer.Key("key-1", "ES256")
        (self.folder / "keys.json").write_text(jwt_issuer.key_set(self.issuer))
        (self.folder / "roles.yaml").write_text(RULES)
        self.minted = []
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        (self.folder / "hook.secret").write_text(SECRET)
        (self.folder / "webhooks.yaml").write_text(json.dumps({"webhooks": [
            {"name": "pipeline", "url": self.receiver.url, "secret_file": str(self.folder / "hook.secret")}]}))

    def token_file(self, **claims):
        self.minted.append(self.issuer.sign(jwt_issuer.claims(exp=int(time.time()) + 1800, **claims)))
        file = self.folder / f"{claims['sub']}.token"
        file.touch(mode=0o600)
        file.write_text(self.minted[-1])
        return file

    def start(self):
        remote = ["--allow-remote", "hf://org/", "--allow-remote", "s3://models/"]
        jwt = ["--jwt-keys", self.folder / "keys.json", "--jwt-roles", self.folder / "roles.yaml",
               "--jwt-issuer", jwt_issuer.ISSUER, "--jwt-audience", jwt_issuer.AUDIENCE]
        worker = self.token_file(sub="worker-1", groups=["machines"])
        return self.start_cluster(workers=1, coordinator_arguments=[*remote, *jwt, "--webhooks", self.folder / "webhooks.yaml"],
                                  worker_arguments=[*remote, "--allow-private-addresses", "--token-file", worker])

    def job(self):
        return job_file.small_job(
            "s3://models/results/demo", name="story", source={"checkpoint": "hf://org/demo@main"},
            calibration={"data": "s3://models/texts/train.jsonl"},
            finetune={"steps": STEPS, "checkpoint_every_steps": CHECKPOINT, "evaluate_every_steps": 20},
            evaluation={"perplexity": {"data": "s3://models/texts/valid.jsonl", "sequence_length": 64, "max_windows": 8}})

    def undisturbed_weights(self, client):
        """Returns the weights of the same conversion from files, without a pause."""
        job = job_file.small_job(self.output, name="local", evaluation=job_file.evaluation(),
                                 finetune={"steps": STEPS, "checkpoint_every_steps": CHECKPOINT})
        client.wait(client.submit(job), check=True)
        return (self.output / "model.safetensors").read_bytes()

    def pause_in_training(self, cluster, client, job):
        cluster.wait_for_checkpoint(job.id, CHECKPOINT)
        client.pause(job)
        processes.wait_until(lambda: client.get(job).state.name == "PAUSED", "the pause", 120, 0.1)
        self.assert_no_process_of("finetune/")

    def in_client(self, program, *arguments):
        environment = {**os.environ, "PYTHONPATH": os.environ["REGROUP_PYTHON_CLIENT"], "HOME": str(self.folder)}
        done = subprocess.run([CLIENT_PYTHON, "-c", program, *map(str, arguments)], env=environment, capture_output=True,
                              text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip().splitlines()[-1]

    def test_a_conversion_from_a_hub_to_a_bucket(self):
        cluster = self.start()
        alice = self.token_file(sub="alice", groups=["ml-platform"])
        client = self.enterContext(regroup.Client(cluster.address, token_file=alice))
        job = client.submit(self.job(), request_id="story-1")
        self.assertEqual(client.submit(self.job(), request_id="story-1").id, job.id)
        self.assertEqual(job.owner, "alice")

        self.pause_in_training(cluster, client, job)
        client.resume(job)
        states = [event.job.state.name for event in client.watch(job)]
        self.assertEqual(states[-1], "SUCCEEDED", client.get(job))

        published = self.bucket.objects("results/demo")
        marker = json.loads(published["regroup/complete.json"])
        self.assertEqual(marker["job"], job.id)
        self.assertEqual(marker["files"]["model.safetensors"]["sha256"],
                         hashlib.sha256(published["model.safetensors"]).hexdigest())
        self.assertEqual(published["model.safetensors"], self.undisturbed_weights(client))
        self.check_webhook(job)
        self.check_report(client, job, published)
        self.check_tensorboard(cluster, client, job)
        self.check_mlflow(cluster, client, job, alice)
        self.check_that_no_secret_is_kept()

    def check_webhook(self, job):
        def events():
            return [event for found in self.receiver.accepted().values() for event in found
                    if event["data"]["name"] == f"jobs/{job.id}"]
        processes.wait_until(events, "the event of the job's end", 60, 0.2)
        [event] = events()
        self.assertEqual((event["type"], event["data"]["output"]), ("job.succeeded", "s3://models/results/demo"))

    def check_report(self, client, job, published):
        report = client.report(job)
        self.assertEqual(report, json.loads(published["regroup/report.json"]))
        self.assertEqual(report["provenance"]["fetched"][0]["commit"], hub_server.COMMIT)
        self.assertEqual(client.get(job).figures["perplexity/result"], report["result"]["perplexity"])

    def check_tensorboard(self, cluster, client, job):
        run = EventAccumulator(str(cluster.work / "jobs" / job.id / "events" / "finetune"), size_guidance={"scalars": 0})
        run.Reload()
        curves = client.metrics(job)
        self.assertEqual([event.step for event in run.Scalars("loss")], list(range(1, STEPS + 1)))
        for name in ("loss", "validation_perplexity"):
            shown = {event.step: event.value for event in run.Scalars(name)}
            for step, value in zip(curves[name].steps, curves[name].values):
                self.assertAlmostEqual(shown[step], value, delta=1e-6 * abs(value))

    def check_mlflow(self, cluster, client, job, token_file):
        server = MlflowServer(self.folder, CLIENT_PYTHON)
        self.addCleanup(server.stop)
        run_id = self.in_client(EXPORT, cluster.address, token_file, job.id, server.url)
        run = json.loads(self.in_client(READ, server.url, run_id))
        self.assertEqual(run["status"], "FINISHED")
        self.assertEqual(run["tags"]["regroup.owner"], "alice")
        self.assertEqual(run["params"]["source.checkpoint"], "hf://org/demo@main")
        self.assertEqual(run["metrics"]["perplexity/result"], client.get(job).figures["perplexity/result"])

    def check_that_no_secret_is_kept(self):
        """Looks into the store, the logs, the working folder and the process list."""
        for secret in (HUB_TOKEN, self.bucket.secret, SECRET.removeprefix("whsec_"), *self.minted):
            for file in (path for path in self.folder.rglob("*") if path.is_file() and path.suffix not in (".token", ".secret")):
                if file.name != "s3.log":
                    self.assertNotIn(secret.encode(), file.read_bytes(), file)
            for command_line in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.assertNotIn(secret.encode(), command_line.read_bytes())
                except (FileNotFoundError, ProcessLookupError):
                    pass


if __name__ == "__main__":
    unittest.main()
