#!/usr/bin/env python3
"""Reads and writes objects of a bucket in another region than the configured one: requests are signed once more for the region
that the server names, and go to the same host."""

import unittest

from behind_gateway import BehindGateway
from harness import bucket_gateway, bucket_server

ELSEWHERE = "ap-southeast-2"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class RegionTest(BehindGateway):
    def setUp(self):
        super().setUp()
        self.bucket.s3.put_object(Bucket="models", Key="texts/a.jsonl", Body=b"text")
        self.model = self.folder / "model"
        (self.model / "regroup").mkdir(parents=True)
        (self.model / "regroup" / "SHA256SUMS").write_text(f"{EMPTY}  empty.txt\n")
        (self.model / "empty.txt").touch()

    def fetch(self):
        return self.run_tool("fetch", "s3://models/texts", self.folder / "target", self.folder / "cache")

    def demand(self, answer):
        self.gateway.intercept = lambda request: None if request.region == ELSEWHERE else answer

    def regions(self):
        return [request.region for request in self.gateway.requests]

    def test_every_way_to_name_a_region_is_understood(self):
        named = {"x-amz-bucket-region": ELSEWHERE}
        other_host = {**named, "Location": "http://localhost:1/models/texts"}
        for answer in (bucket_gateway.error(301, "PermanentRedirect", named),
                       bucket_gateway.error(307, "TemporaryRedirect", other_host),
                       bucket_gateway.error(400, "AuthorizationHeaderMalformed", elements=f"<Region>{ELSEWHERE}</Region>")):
            with self.subTest(answer):
                self.gateway.requests.clear()
                self.demand(answer)
                done = self.fetch()
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual((self.folder / "target" / "texts" / "a.jsonl").read_bytes(), b"text")
                self.assertEqual(self.regions()[0], bucket_server.REGION)
                self.assertEqual(set(self.regions()[1:]), {ELSEWHERE})
                (self.folder / "target" / "texts" / "a.jsonl").unlink()
                for file in (self.folder / "cache").iterdir():
                    file.unlink()

    def test_an_upload_too(self):
        self.demand(bucket_gateway.error(301, "PermanentRedirect", {"x-amz-bucket-region": ELSEWHERE}))
        done = self.run_tool("upload", self.model, "s3://models/out", self.folder / "journal.json", str(5 << 20))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("regroup/complete.json", self.bucket.objects("out"))
        self.assertEqual(self.regions().count(bucket_server.REGION), 1)

    def test_a_server_that_names_one_region_after_the_other_is_followed_once(self):
        self.gateway.intercept = lambda request: bucket_gateway.error(
            301, "PermanentRedirect", {"x-amz-bucket-region": "us-west-1" if request.region == ELSEWHERE else ELSEWHERE})
        done = self.fetch()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], "^INVALID_ARGUMENT: s3://models/texts: .*status 301: PermanentRedirect")
        self.assertEqual(self.regions(), [bucket_server.REGION, ELSEWHERE])

    def test_what_is_not_the_name_of_a_region_is_not_used(self):
        for name in ("evil.example/", "evil.example", "UPPER", "", "a" * 65):
            with self.subTest(name):
                self.gateway.requests.clear()
                self.demand(bucket_gateway.error(301, "PermanentRedirect", {"x-amz-bucket-region": name}))
                self.assertEqual(self.fetch().returncode, 1)
                self.assertEqual(self.regions(), [bucket_server.REGION])


if __name__ == "__main__":
    unittest.main()
