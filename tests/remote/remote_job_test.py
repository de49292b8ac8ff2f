#!/usr/bin/env python3
"""Whole jobs whose source, data and result have addresses: on a real coordinator and worker, with a real S3 server, and
a hub and a web server that the test plays."""

import hashlib
import json
import os
import pathlib
import shutil
import unittest
import unittest.mock

from harness import bucket_server, hub_server, job_file, places, processes
from harness.program_test import ProgramTest, digest_of

TOKEN = "hf_a_secret_of_the_hub"


class RemoteJobTest(ProgramTest):
    def setUp(self):
        super().setUp()
        repository = self.folder / "repositories" / "org" / "demo"
        shutil.copytree(places.MODEL, repository)
        (repository / "pytorch_model.bin").write_bytes(b"of another program")
        certificate = hub_server.make_certificate(self.folder)
        self.hub = hub_server.Hub(self.folder / "repositories", certificate, token=TOKEN)
        self.addCleanup(self.hub.stop)
        pages = self.folder / "pages"
        pages.mkdir()
        shutil.copy(places.HELD_OUT_TEXT, pages / "valid.jsonl")
        self.web = hub_server.FileServer(pages, certificate)
        self.addCleanup(self.web.stop)
        self.bucket = bucket_server.BucketServer(self.folder)
        self.addCleanup(self.bucket.stop)
        self.bucket.s3.upload_file(str(places.TRAINING_TEXT), bucket_server.BUCKET, "texts/train.jsonl")
        settings = {**self.hub.environment(), **self.bucket.environment()}
        self.enterContext(unittest.mock.patch.dict(os.environ, settings))

    def start(self, allowed=None, **settings):
        allowed = allowed or ("hf://org/", "s3://models/", self.web.url)
        flags = [word for prefix in allowed for word in ("--allow-remote", prefix)]
        return self.start_cluster(workers=1, coordinator_arguments=flags,
                                  worker_arguments=(*flags, "--allow-private-addresses"), **settings)

    def job(self, output, **changes):
        evaluation = {"perplexity": {"data": f"{self.web.url}/valid.jsonl", "sequence_length": 64, "max_windows": 8}}
        return job_file.small_job(output, source={"checkpoint": "hf://org/demo@main"}, evaluation=evaluation,
                                  calibration={"data": "s3://models/texts/*.jsonl"}, **changes)

    def local_result(self, cluster):
        output = self.folder / "results" / "local"
        name = cluster.submit(self.write_job(job_file.small_job(output, evaluation=job_file.evaluation()), "local.yaml"))
        self.assert_succeeded(cluster.wait_for_end(name))
        return output

    def tasks(self, job):
        return [task["name"].split("/")[-1] for task in job["tasks"]]

    def test_from_addresses_to_a_bucket(self):
        cluster = self.start()
        name = cluster.submit(self.write_job(self.job("s3://models/results/demo")))
        job = cluster.wait_for_end(name)
        self.assert_succeeded(job)
        self.assertEqual(self.tasks(job)[:2], ["fetch", "inspect"])
        self.assertEqual(self.tasks(job)[-2:], ["report", "upload"])
        found = self.bucket.objects("results/demo")
        local = self.local_result(cluster)
        self.assertEqual(found["model.safetensors"], (local / "model.safetensors").read_bytes())
        self.assertEqual(found["tokenizer.json"], (local / "tokenizer.json").read_bytes())
        marker = json.loads(found.pop("regroup/complete.json"))
        self.assertEqual({file: entry["bytes"] for file, entry in marker["files"].items()},
                         {file: len(content) for file, content in found.items()})
        for file, entry in marker["files"].items():
            if "sha256" in entry:
                self.assertEqual(entry["sha256"], hashlib.sha256(found[file]).hexdigest())
        # The published job file can be submitted elsewhere: it has the addresses.
        self.assertIn("hf://org/demo@main", found["regroup/job.yaml"].decode())
        report = json.loads(found["regroup/report.json"])
        self.assertEqual(report["provenance"]["source"], "hf://org/demo@main")
        self.assertEqual({entry["address"]: entry.get("commit") for entry in report["provenance"]["fetched"]},
                         {"hf://org/demo@main": hub_server.COMMIT, "s3://models/texts/*.jsonl": None,
                          f"{self.web.url}/valid.jsonl": None})
        self.assertIn(hub_server.COMMIT[:12], found["regroup/report.html"].decode())
        self.check_the_cache(cluster)
        self.check_that_no_secret_is_kept(cluster)

    def check_the_cache(self, cluster):
        """The next job reads nothing again, and its folder beside the bucket is published too."""
        sent = self.hub.files.sent
        job = self.job(self.output)
        job["output"]["also"] = "s3://models/results/also"
        name = cluster.submit(self.write_job(job))
        self.assert_succeeded(cluster.wait_for_end(name))
        self.assertEqual(self.hub.files.sent, sent)
        also = self.bucket.objects("results/also")
        self.assertEqual(digest_of(self.output / "model.safetensors"), hashlib.sha256(also["model.safetensors"]).hexdigest())
        self.assertIn("regroup/complete.json", also)

    def check_that_no_secret_is_kept(self, cluster):
        for secret in (TOKEN, self.bucket.secret):
            for file in (path for path in self.folder.rglob("*") if path.is_file()):
                if file.suffix not in (".key", ".pem") and file.name != "s3.log":
                    self.assertNotIn(secret.encode(), file.read_bytes(), file)
            for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.assertNotIn(secret.encode(), process.read_bytes())
                except (FileNotFoundError, ProcessLookupError):
                    pass

    def test_no_other_task_has_the_credentials(self):
        cluster = self.start()
        name = cluster.submit(self.write_job(self.job(self.output)))
        [trainer, *_] = cluster.wait_for_trainers("finetune/")
        environment = pathlib.Path(f"/proc/{trainer.pid}/environ").read_bytes()
        self.assertNotIn(b"AWS_", environment)
        self.assertNotIn(b"HF_TOKEN", environment)
        self.assert_succeeded(cluster.wait_for_end(name))

    def test_addresses_that_are_not_allowed(self):
        cluster = self.start(allowed=("s3://models/texts",))
        done = cluster.regroup("submit", self.write_job(self.job("s3://models/results/demo")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("source.checkpoint: 'hf://org/demo@main' does not begin with a prefix that this cluster allows; "
                      "allowed: s3://models/texts", done.stderr)
        self.assertIn("output.checkpoint: 's3://models/results/demo'", done.stderr)
        self.assertNotIn("calibration.data", done.stderr)

    def test_failures_have_their_class_and_a_retry_goes_on(self):
        cluster = self.start()
        self.hub.files.refusals = [(403, {})] * 4
        name = cluster.submit(self.write_job(self.job(self.output)))
        failed = cluster.wait_for_end(name)
        self.assertEqual(failed["failure"]["failure_class"], "FAILURE_CLASS_USER", failed["failure"])
        self.assertRegex(failed["failure"]["message"], "task fetch failed: hf://org/demo@main, .*status 403")
        self.hub.files.refusals = []
        self.assertEqual(cluster.regroup("retry", name).returncode, 0)
        self.assert_succeeded(cluster.wait_for_end(name))

    def test_a_bucket_that_holds_something_fails_before_the_work(self):
        self.bucket.s3.put_object(Bucket=bucket_server.BUCKET, Key="results/demo/config.json", Body=b"{}")
        cluster = self.start()
        failed = cluster.wait_for_end(cluster.submit(self.write_job(self.job("s3://models/results/demo"))))
        self.assertRegex(failed["failure"]["message"], "task fetch failed: s3://models/results/demo holds "
                                                       "'results/demo/config.json', which this job did not write")
        self.assertEqual(self.hub.requests, [])

    def test_a_killed_upload_goes_on(self):
        cluster = self.start()
        self.bucket.proxy.cuts = []
        name = cluster.submit(self.write_job(self.job("s3://models/results/demo")))
        [trainer] = cluster.wait_for_trainers("upload/")
        processes.signal_if_alive(trainer.pid, 9)
        job = cluster.wait_for_end(name)
        self.assert_succeeded(job)
        [upload] = [task for task in job["tasks"] if task["kind"] == "TASK_KIND_UPLOAD"]
        self.assertEqual(int(upload["epoch"]), 2)
        self.assertIn("regroup/complete.json", self.bucket.objects("results/demo"))

    def test_regroup_run_allows_what_its_user_writes(self):
        from harness import cluster
        done = cluster.run_regroup("run", self.write_job(self.job("s3://models/results/run")), "--work-dir",
                                   self.folder / "work")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        published = self.bucket.objects("results/run")
        self.assertIn("regroup/complete.json", published)
        # The same command again finds that it is done.
        again = cluster.run_regroup("run", self.folder / "job.yaml", "--work-dir", self.folder / "work")
        self.assertEqual(again.returncode, 0, again.stdout + again.stderr)
        self.assertEqual(self.bucket.objects("results/run"), published)


if __name__ == "__main__":
    unittest.main()
