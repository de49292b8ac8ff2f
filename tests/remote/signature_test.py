#!/usr/bin/env python3
"""Compares the signatures of requests to S3 with those of Amazon's own library."""

import datetime
import os
import pathlib
import subprocess
import unittest

import botocore.auth
import botocore.awsrequest
import botocore.credentials

TOOL = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "address_tool"
KEY, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session/token=="
TIME = 1_700_000_000


class Frozen(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return cls(1970, 1, 1) + datetime.timedelta(seconds=TIME)


class SignatureTest(unittest.TestCase):
    def sign(self, method, bucket, key, query, **settings):
        words = [word for pair in query.items() for word in pair]
        environment = {"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, **settings}
        done = subprocess.run([TOOL, "sign", method, bucket, key, str(TIME), *words], env=environment,
                              capture_output=True, text=True, check=True)
        url, *lines = done.stdout.splitlines()
        return url, dict(line.split(": ", 1) for line in lines)

    def expected(self, method, url, session=None):
        request = botocore.awsrequest.AWSRequest(method=method, url=url, data=b"")
        request.context["timestamp"] = Frozen.utcnow().strftime(botocore.auth.SIGV4_TIMESTAMP)
        credentials = botocore.credentials.Credentials(KEY, SECRET, session)
        signer = botocore.auth.S3SigV4Auth(credentials, "s3", "eu-central-1")
        request.context["payload_signing_enabled"] = True
        request.headers["X-Amz-Content-SHA256"] = signer.payload(request)
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        if session:
            request.headers["X-Amz-Security-Token"] = session
        canonical = signer.canonical_request(request)
        return signer.signature(signer.string_to_sign(request, canonical), request)

    def check(self, method, bucket, key, query=None, session=None, **settings):
        if session:
            settings["AWS_SESSION_TOKEN"] = session
        url, headers = self.sign(method, bucket, key, query or {}, **settings)
        self.assertEqual(headers["authorization"].rpartition("Signature=")[2], self.expected(method, url, session), url)
        return url

    def test_signatures_are_those_of_amazons_library(self):
        self.assertEqual(self.check("GET", "models", "llama/config.json"),
                         "https://models.s3.eu-central-1.amazonaws.com/llama/config.json")
        self.check("GET", "models", "llama/config.json", session=SESSION)
        self.assertEqual(self.check("GET", "with.dots", "a"), "https://s3.eu-central-1.amazonaws.com/with.dots/a")
        self.check("PUT", "models", "a b/ü+&=?#~.json")
        self.check("GET", "models", "", {"list-type": "2", "prefix": "a b/", "continuation-token": "1/+=="})
        self.check("POST", "models", "llama/x", {"uploads": ""})
        self.assertEqual(self.check("GET", "models", "x", AWS_ENDPOINT_URL="http://minio:9000"),
                         "http://minio:9000/models/x")

    def test_without_credentials_requests_are_not_signed(self):
        done = subprocess.run([TOOL, "sign", "GET", "models", "x", str(TIME)], env={}, capture_output=True, text=True,
                              check=True)
        self.assertNotIn("authorization", done.stdout)


if __name__ == "__main__":
    unittest.main()
