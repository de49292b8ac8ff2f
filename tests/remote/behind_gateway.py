"""A test whose bucket stands behind a gateway that can answer in its place."""

import json
import os
import pathlib
import subprocess

from harness import bucket_gateway, bucket_server
from harness.program_test import ProgramTest

TOOL = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "address_tool"


class BehindGateway(ProgramTest):
    def setUp(self):
        super().setUp()
        self.bucket = bucket_server.BucketServer(self.folder)
        self.addCleanup(self.bucket.stop)
        self.gateway = bucket_gateway.BucketGateway(self.bucket.port)
        self.addCleanup(self.gateway.stop)

    def run_tool(self, *words, url=None):
        """Runs the tool on the bucket by its gateway, or by the given URL."""
        rules = {"allowed": ["s3://"], "private_addresses": True, "cache_bytes": 1 << 30}
        environment = {"REGROUP_REMOTE_RULES": json.dumps(rules), **self.bucket.environment(),
                       "AWS_ENDPOINT_URL": url or self.gateway.url}
        return subprocess.run([TOOL, *words], env=environment, capture_output=True, text=True, timeout=300)
