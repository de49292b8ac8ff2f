#!/usr/bin/env python3
"""Sends two results to one address at the same time: one of them ends with ALREADY_EXISTS and replaces nothing, also where an
answer is lost, and servers that know no conditions work as before."""

import hashlib
import json
import unittest

from behind_gateway import BehindGateway
from harness import bucket_gateway

MARKER = "regroup/complete.json"


def is_marker(request):
    return request.method == "PUT" and request.path.endswith(MARKER)


class TwoUploadsTest(BehindGateway):
    def upload(self, name, url=None):
        """Uploads a result of its own, whose files have the same names and sizes as all others."""
        folder = self.folder / name
        (folder / "regroup").mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(name)
        digest = hashlib.sha256(name.encode()).hexdigest()
        (folder / "regroup" / "SHA256SUMS").write_text(f"{digest}  model.safetensors\n")
        return self.run_tool("upload", folder, "s3://models/out", self.folder / f"{name}.json", str(5 << 20), url=url)

    def before(self, condition, act):
        """Lets `act` happen once, before the server gets the first request for which `condition` is true."""
        done = []

        def intercept(request):
            if not done and condition(request):
                done.append(request)
                return act(request)
            return None

        self.gateway.intercept = intercept

    def assert_result_of(self, name):
        found = self.bucket.objects("out")
        self.assertEqual(found["model.safetensors"], name.encode())
        marker = json.loads(found[MARKER])
        self.assertEqual(marker["upload"], json.loads((self.folder / f"{name}.json").read_text())["id"])
        self.assertEqual(marker["files"]["model.safetensors"]["sha256"], hashlib.sha256(name.encode()).hexdigest())

    def assert_exists(self, done, name):
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1],
                         f"^ALREADY_EXISTS: s3://models/out holds 'out/{name}', which this job did not write")

    def test_a_result_that_is_completed_in_between_is_kept(self):
        def other(_):
            done = self.upload("two", self.bucket.url)
            self.assertEqual(done.returncode, 0, done.stderr)

        self.before(lambda request: request.is_completion, other)
        self.assert_exists(self.upload("one"), "model.safetensors")
        self.assert_result_of("two")
        # Nor does another attempt take it for its own.
        self.assert_exists(self.upload("one"), MARKER)
        self.assert_result_of("two")

    def test_a_marker_of_somebody_else_is_kept(self):
        self.before(is_marker, lambda _: self.bucket.s3.put_object(Bucket="models", Key=f"out/{MARKER}", Body=b"{}") and None)
        self.assert_exists(self.upload("one"), MARKER)
        self.assertEqual(self.bucket.objects("out")[MARKER], b"{}")

    def test_a_conflict_with_an_object_that_another_program_writes(self):
        def conflict(request):
            self.bucket.s3.put_object(Bucket="models", Key="out/model.safetensors", Body=b"of somebody else")
            return bucket_gateway.error(409, "ConditionalRequestConflict")

        self.before(lambda request: request.is_completion, conflict)
        self.assert_exists(self.upload("one"), "model.safetensors")

    def test_a_conflict_without_an_object_is_repeated_by_the_next_attempt(self):
        self.before(lambda request: request.is_completion,
                    lambda _: bucket_gateway.error(409, "ConditionalRequestConflict"))
        done = self.upload("one")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], "^UNAVAILABLE: s3://models/out/model.safetensors: another program")
        self.assertEqual(self.upload("one").returncode, 0)
        self.assert_result_of("one")

    def test_a_lost_answer_is_not_taken_for_an_object_of_somebody_else(self):
        for condition in (lambda request: request.is_completion, is_marker):
            lost = []

            def lose(request):
                if not condition(request):
                    return None
                lost.append(request)
                if len(lost) == 1:
                    self.assertEqual(self.gateway.forward(request)[0], 200)
                    return bucket_gateway.error(500, "InternalError")
                return bucket_gateway.error(412, "PreconditionFailed") if len(lost) == 2 else None

            with self.subTest(condition):
                self.gateway.intercept = lose
                done = self.upload("one")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assert_result_of("one")
                self.assertGreaterEqual(len(lost), 2)
                self.bucket.s3.delete_objects(Bucket="models", Delete={"Objects": [
                    {"Key": f"out/{name}"} for name in self.bucket.objects("out")]})
                (self.folder / "one.json").unlink()

    def test_a_server_that_knows_no_conditions(self):
        self.gateway.intercept = lambda request: (
            bucket_gateway.error(501, "NotImplemented") if "if-none-match" in request.headers else None)
        done = self.upload("one")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_result_of("one")
        self.assertEqual(len([request for request in self.gateway.requests if "if-none-match" in request.headers]), 1)

    def test_every_object_appears_under_the_condition(self):
        self.assertEqual(self.upload("one").returncode, 0)
        appearing = [request for request in self.gateway.requests if request.is_completion or is_marker(request)]
        self.assertEqual([request.headers.get("if-none-match") for request in appearing], ["*"] * 3)


if __name__ == "__main__":
    unittest.main()
