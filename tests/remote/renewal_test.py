#!/usr/bin/env python3
"""Renews credentials while files are read and sent: a reader and an upload go on with what the file of credentials holds by
then, repeat nothing, and fail as before if it holds nothing new."""

import hashlib
import json
import os
import pathlib
import random
import subprocess
import unittest

from harness import bucket_gateway, bucket_server, hub_server
from harness.program_test import ProgramTest

TOOL = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "address_tool"
PART = 5 << 20
BYTES = 4 * PART + 1000


class RenewalTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "repositories" / "org" / "model"
        self.model.mkdir(parents=True)
        self.content = random.Random(3).randbytes(BYTES)
        (self.model / "model.safetensors").write_bytes(self.content)
        (self.model / "config.json").write_text('{"model_type": "llama"}')
        self.secrets = self.folder / "credentials"

    def run_tool(self, *words, **environment):
        rules = {"allowed": ["hf://", "s3://"], "private_addresses": True, "cache_bytes": 1 << 30}
        return subprocess.run([TOOL, *words], env={"REGROUP_REMOTE_RULES": json.dumps(rules), **environment},
                              capture_output=True, text=True, timeout=300)

    def fetch(self, address, **environment):
        return self.run_tool("fetch", address, self.folder / "target", self.folder / "cache", **environment)

    def assert_fetched(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "target" / "model" / "model.safetensors").read_bytes(), self.content)

    def start_hub(self, after_the_cut):
        """Starts a hub whose network cuts the connection in the middle; `after_the_cut` may then change the token."""
        hub = hub_server.Hub(self.model.parent.parent, hub_server.make_certificate(self.folder), token="hf_old_secret")
        self.addCleanup(hub.stop)
        hub.files.cuts = [BYTES // 2]
        send_content = hub.files.send_content

        def cut(*arguments):
            send_content(*arguments)
            if not hub.files.cuts and hub.token == "hf_old_secret":
                hub.token = "hf_new_secret"
                after_the_cut()

        hub.files.send_content = cut
        self.secrets.write_text("hf_old_secret\n")
        environment = {**hub.environment(), "HF_TOKEN_PATH": str(self.secrets)}
        del environment["HF_TOKEN"]
        return hub, environment

    def test_a_new_token_of_the_hub_is_taken_in_the_middle_of_a_file(self):
        hub, environment = self.start_hub(lambda: self.secrets.write_text("hf_new_secret\n"))
        done = self.fetch("hf://org/model", **environment)
        self.assert_fetched(done)
        self.assertLess(hub.files.sent, BYTES * 1.3)
        self.assertNotIn("hf_new_secret", done.stderr)

    def test_a_token_that_stays_fails_as_before(self):
        hub, environment = self.start_hub(lambda: os.utime(self.secrets, (0, 0)))
        done = self.fetch("hf://org/model", **environment)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], "^PERMISSION_DENIED: hf://org/model, .*status 401")
        self.assertEqual(len([path for _, path, headers in hub.requests if headers["authorization"] == "Bearer hf_old_secret"
                              and path.endswith("model.safetensors")]), 2)

    def start_bucket(self, revoke_before, writes_new=True):
        """Starts a bucket that revokes the key before it answers the first request for which `revoke_before` is true."""
        self.bucket = bucket_server.BucketServer(self.folder)
        self.addCleanup(self.bucket.stop)
        first = self.bucket.key
        made = self.bucket.client("iam").create_access_key(UserName="regroup")["AccessKey"]
        self.write_keys(self.bucket.key, self.bucket.secret)
        self.spare = made["AccessKeyId"], made["SecretAccessKey"]
        self.revoked = False

        def intercept(request):
            if not self.revoked and revoke_before(request):
                self.revoked = True
                self.bucket.key, self.bucket.secret = self.spare
                self.bucket.client("iam").delete_access_key(UserName="regroup", AccessKeyId=first)
                if writes_new:
                    self.write_keys(self.bucket.key, self.bucket.secret)
            return None

        gateway = bucket_gateway.BucketGateway(self.bucket.port, intercept)
        self.addCleanup(gateway.stop)
        environment = {**self.bucket.environment(), "AWS_ENDPOINT_URL": gateway.url,
                       "AWS_SHARED_CREDENTIALS_FILE": str(self.secrets)}
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        return gateway, environment

    def write_keys(self, key, secret):
        self.secrets.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")

    def upload(self, **environment):
        (self.model / "regroup").mkdir()
        (self.model / "regroup" / "SHA256SUMS").write_text(f"{hashlib.sha256(self.content).hexdigest()}  model.safetensors\n")
        return self.run_tool("upload", self.model, "s3://models/out", self.folder / "journal.json", str(PART), **environment)

    def test_an_upload_goes_on_with_new_keys_and_sends_no_part_twice(self):
        gateway, environment = self.start_bucket(lambda request: request.query.get("partNumber") == "3")
        done = self.upload(**environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        client = self.bucket.client("s3")
        found = client.get_object(Bucket="models", Key="out/model.safetensors")["Body"].read()
        self.assertEqual(found, self.content)
        self.assertIn("out/regroup/complete.json", [entry["Key"] for entry in client.list_objects_v2(Bucket="models")["Contents"]])
        sent = [request.query["partNumber"] for request in gateway.requests
                if request.is_part and request.path.endswith("model.safetensors")]
        self.assertEqual(sent, ["1", "2", "3", "3", "4", "5"])
        self.assertEqual(len({request.key_id for request in gateway.requests}), 2)
        self.assertNotIn(self.bucket.secret, done.stderr)

    def test_keys_that_expire_before_the_objects_appear_are_renewed(self):
        _, environment = self.start_bucket(lambda request: request.is_completion)
        done = self.upload(**environment)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_upload_with_unchanged_keys_fails_as_before(self):
        gateway, environment = self.start_bucket(lambda request: request.query.get("partNumber") == "3", writes_new=False)
        done = self.upload(**environment)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], "^PERMISSION_DENIED: s3://models/out/model.safetensors: .*status 403")
        self.assertEqual(gateway.requests[-1].query.get("partNumber"), "3")
        self.assertEqual(len([request for request in gateway.requests if request.query.get("partNumber") == "3"]), 1)

    def test_objects_of_a_bucket_are_read_with_new_keys(self):
        gateway, environment = self.start_bucket(lambda request: request.path.endswith("model.safetensors"))
        self.bucket.put_folder(self.model, "team/model")
        self.assert_fetched(self.fetch("s3://models/team/model", **environment))
        self.assertEqual(len([request for request in gateway.requests if request.path.endswith("config.json")]), 1)

    def expire_once(self, writes):
        """Answers the first request of the large object as to an expired token, after `writes`."""
        gateway, environment = self.start_bucket(lambda request: False)
        self.bucket.put_folder(self.model, "team/model")
        refused = []

        def intercept(request):
            if refused or not request.path.endswith("model.safetensors"):
                return None
            refused.append(request)
            writes()
            return bucket_gateway.error(400, "ExpiredToken")

        gateway.intercept = intercept
        return self.fetch("s3://models/team/model", **environment)

    def test_a_token_that_expired_is_renewed_although_its_status_is_400(self):
        self.assert_fetched(self.expire_once(lambda: self.write_keys(*self.spare)))

    def test_a_file_that_is_written_anew_with_the_same_keys_is_not_new(self):
        done = self.expire_once(lambda: self.write_keys(self.bucket.key, self.bucket.secret))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], "^PERMISSION_DENIED: s3://models/team/model.*ExpiredToken")


if __name__ == "__main__":
    unittest.main()
