#!/usr/bin/env python3
"""Copies a folder to a bucket while connections break and the program is killed: a reader sees all of it or nothing."""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import unittest

from harness import bucket_server, processes
from harness.program_test import ProgramTest

TOOL = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "address_tool"
# The smallest part that servers take.
PART = 5 << 20
# A tenth of it is more than a part, so that no part meets two cuts.
BYTES = 12 * PART + 1000


class UploadTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        (self.model / "regroup").mkdir(parents=True)
        self.files = {"model.safetensors": random.Random(2).randbytes(BYTES), "config.json": b"{}", "empty.txt": b"",
                      "regroup/report.json": b'{"version": 1}'}
        for name, content in self.files.items():
            (self.model / name).write_bytes(content)
        sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(self.files.items()))
        (self.model / "regroup" / "SHA256SUMS").write_text(sums)
        self.files["regroup/SHA256SUMS"] = sums.encode()
        self.bucket = bucket_server.BucketServer(self.folder)
        self.addCleanup(self.bucket.stop)

    def start(self, address="s3://models/out"):
        rules = {"allowed": ["s3://models/"], "private_addresses": False, "cache_bytes": 0}
        return subprocess.Popen([TOOL, "upload", self.model, address, self.folder / "journal.json", str(PART)],
                                env={"REGROUP_REMOTE_RULES": json.dumps(rules), **self.bucket.environment()},
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def upload(self, address="s3://models/out"):
        running = self.start(address)
        _, errors = running.communicate(timeout=300)
        return running.returncode, errors

    def succeed(self):
        status, errors = self.upload()
        self.assertEqual(status, 0, errors)
        found = self.bucket.objects("out")
        marker = json.loads(found.pop("regroup/complete.json"))
        self.assertEqual(found, self.files)
        self.assertEqual(marker["job"], "tool")
        self.assertEqual({name: entry["bytes"] for name, entry in marker["files"].items()},
                         {name: len(content) for name, content in self.files.items()})
        self.assertEqual({name: entry["sha256"] for name, entry in marker["files"].items()},
                         {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()})
        self.assertEqual(self.bucket.s3.list_multipart_uploads(Bucket="models").get("Uploads", []), [])

    def test_all_files_and_then_the_marker(self):
        self.succeed()
        passed = self.bucket.proxy.passed
        # Once more: the marker says that nothing is left to do.
        self.succeed()
        self.assertLess(self.bucket.proxy.passed - passed, 10_000)

    def test_connections_cut_at_every_tenth(self):
        total = sum(map(len, self.files.values()))
        self.bucket.proxy.cuts = [total * tenth // 10 for tenth in range(1, 10)]
        self.succeed()
        self.assertEqual(self.bucket.proxy.cuts, [])
        # A cut costs at most the part that was under way.
        self.assertLess(self.bucket.proxy.passed, total + 9 * PART)

    def test_killed_at_any_moment_it_goes_on_and_shows_nothing_before_the_end(self):
        total = sum(map(len, self.files.values()))
        for tenth in range(1, 10, 2):
            reached = self.bucket.proxy.passed + total // 8
            running = self.start()
            processes.wait_until(lambda: self.bucket.proxy.passed >= reached or running.poll() is not None,
                                 "a part of the upload", pause_s=0.001)
            running.send_signal(signal.SIGKILL)
            running.communicate()
            if running.returncode == 0:
                break
            found = set(self.bucket.objects("out"))
            self.assertNotIn("regroup/complete.json", found)
            sent = json.loads((self.folder / "journal.json").read_text()) if (self.folder / "journal.json").exists() else {}
            if not sent.get("completing"):
                self.assertEqual(found, set())
        self.succeed()
        self.assertLess(self.bucket.proxy.passed, total + 5 * PART + 100_000)

    def test_killed_while_objects_appear(self):
        running = self.start()
        processes.wait_until(lambda: self.bucket.objects("out") or running.poll() is not None, "the first object",
                             pause_s=0.001)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        self.succeed()

    def test_what_is_there_already_is_not_touched(self):
        self.bucket.s3.put_object(Bucket="models", Key="out/config.json", Body=b"of somebody else")
        status, errors = self.upload()
        self.assertEqual(status, 1)
        self.assertIn("ALREADY_EXISTS: s3://models/out holds 'out/config.json', which this job did not write", errors)
        self.assertEqual(self.bucket.objects("out"), {"config.json": b"of somebody else"})
        # A name that only begins alike is another one.
        self.bucket.s3.delete_object(Bucket="models", Key="out/config.json")
        self.bucket.s3.put_object(Bucket="models", Key="output/config.json", Body=b"of somebody else")
        self.succeed()

    def kill_after(self, parts):
        """Kills an upload when it has sent so many parts."""
        reached = self.bucket.proxy.passed + parts * PART
        running = self.start()
        processes.wait_until(lambda: self.bucket.proxy.passed > reached or running.poll() is not None, "some parts",
                             pause_s=0.001)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        self.assertEqual(running.returncode, -signal.SIGKILL)

    def test_an_object_of_somebody_else_that_appears_meanwhile_is_kept(self):
        self.kill_after(2)
        self.bucket.s3.put_object(Bucket="models", Key="out/config.json", Body=b"of somebody else")
        status, errors = self.upload()
        self.assertEqual(status, 1)
        self.assertIn("ALREADY_EXISTS: s3://models/out holds 'out/config.json'", errors)
        self.assertEqual(self.bucket.objects("out"), {"config.json": b"of somebody else"})

    def test_objects_that_were_removed_meanwhile_are_sent_again(self):
        journal = self.folder / "journal.json"
        self.succeed()
        # As if the program had died before it wrote the marker, and somebody had then cleaned up.
        for name in ("regroup/complete.json", "model.safetensors"):
            self.bucket.s3.delete_object(Bucket="models", Key=f"out/{name}")
        self.assertTrue(json.loads(journal.read_text())["completing"])
        self.succeed()

    def test_the_result_of_another_job_of_the_same_name_is_not_taken_for_this_one(self):
        self.succeed()
        (self.folder / "journal.json").unlink()
        status, errors = self.upload()
        self.assertEqual(status, 1)
        self.assertIn("ALREADY_EXISTS: s3://models/out holds 'out/regroup/complete.json'", errors)

    def test_a_file_that_changes_meanwhile_is_noticed(self):
        self.kill_after(3)
        with open(self.model / "model.safetensors", "r+b") as file:
            file.write(b"changed")
        status, errors = self.upload()
        self.assertEqual(status, 1)
        self.assertIn("DATA_LOSS: ", errors)
        self.assertIn("model.safetensors changed after the result was published", errors)
        self.assertEqual(self.bucket.objects("out"), {})

    def test_uploads_removed_from_the_bucket_are_sent_again(self):
        self.kill_after(2)
        for upload in self.bucket.s3.list_multipart_uploads(Bucket="models")["Uploads"]:
            self.bucket.s3.abort_multipart_upload(Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"])
        self.succeed()

    def test_credentials_that_are_revoked_meanwhile(self):
        running = self.start()
        processes.wait_until(lambda: self.bucket.proxy.passed > PART or running.poll() is not None, "a part",
                             pause_s=0.001)
        iam = self.bucket.client("iam")
        iam.detach_user_policy(UserName="regroup", PolicyArn=self.bucket.policy["Policy"]["Arn"])
        _, errors = running.communicate(timeout=120)
        self.assertEqual(running.returncode, 1, errors)
        self.assertIn("PERMISSION_DENIED: s3://models/out/", errors)
        self.assertNotIn(self.bucket.secret, errors)

    def test_an_address_that_is_not_allowed(self):
        status, errors = self.upload("s3://other/out")
        self.assertEqual(status, 1)
        self.assertIn("PERMISSION_DENIED: s3://other/out is not below a prefix", errors)


if __name__ == "__main__":
    unittest.main()
