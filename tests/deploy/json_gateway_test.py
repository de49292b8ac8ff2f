#!/usr/bin/env python3
"""A real Envoy with deploy/envoy/envoy.yaml before a real coordinator: jobs are submitted, watched and cancelled as JSON over
HTTP, errors keep their reasons, tokens are passed on, and the services of workers stay closed."""

import json
import pathlib
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

import grpc

from harness import job_file, places, processes
from harness.program_test import ProgramTest

ENVOY = pathlib.Path(sys.executable).with_name("envoy")
CONFIGURATION = places.REPOSITORY / "deploy/envoy/envoy.yaml"
DESCRIPTORS = places.PROGRAMS.parent / "generated/regroup.pb"


class JsonGateway(ProgramTest):
    def setUp(self):
        super().setUp()
        self.tokens = self.folder / "tokens"
        for name, role in (("alice", "submitter"), ("node", "worker")):
            subprocess.run([places.PROGRAMS / "regroup-coordinator", "token", "add", name, "--role", role, "--tokens",
                            self.tokens, "--output", self.folder / f"{name}.token"], check=True, capture_output=True)
        self.cluster = self.start_cluster(workers=0, coordinator_arguments=("--tokens", self.tokens))
        self.token = (self.folder / "alice.token").read_text().strip()
        self.url = self.start_envoy()

    def start_envoy(self):
        """Starts Envoy with the shipped configuration at a free port; returns its URL."""
        text = CONFIGURATION.read_text()
        for shipped, here in (("port_value: 8447", "port_value: 0"),
                              ("port_value: 7447", f"port_value: {self.cluster.address.rpartition(':')[2]}"),
                              ("/usr/share/regroup/proto/regroup.pb", str(DESCRIPTORS))):
            self.assertEqual(text.count(shipped), 1, shipped)
            text = text.replace(shipped, here)
        configuration, admin = self.folder / "envoy.yaml", self.folder / "admin"
        configuration.write_text(f"{text}admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n")
        with open(self.folder / "envoy.log", "wb") as log:
            envoy = processes.start([ENVOY, "-c", configuration, "--admin-address-path", admin, "--use-dynamic-base-id",
                                     "--concurrency", "1"], stdout=log, stderr=log)
        self.addCleanup(envoy.wait)
        self.addCleanup(envoy.terminate)
        found = processes.wait_until(lambda: admin.exists() and self.listeners(admin.read_text()), "Envoy's port", 60)
        return f"http://{found}"

    @staticmethod
    def listeners(admin):
        try:
            with urllib.request.urlopen(f"http://{admin}/listeners", timeout=10) as answer:
                return answer.read().decode().strip().removeprefix("json::")
        except OSError:
            return ""

    def open(self, call, request, token=None, service="JobService"):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token}"}
        return urllib.request.urlopen(urllib.request.Request(f"{self.url}/regroup.v1.{service}/{call}", headers=headers,
                                                             data=json.dumps(request).encode()), timeout=60)

    def call(self, call, request, **settings):
        with self.open(call, request, **settings) as answer:
            return json.load(answer)

    def refuse(self, status, call, request, **settings):
        with self.assertRaises(urllib.error.HTTPError) as raised:
            self.open(call, request, **settings)
        with raised.exception as error:
            text = error.read()
            self.assertEqual(error.code, status, text)
            return text.decode()

    def reason(self, status, call, request, **settings):
        """Returns the reason of a call that the coordinator must refuse."""
        details = json.loads(self.refuse(status, call, request, **settings))["details"]
        return next(detail["reason"] for detail in details if detail["@type"].endswith("ErrorInfo"))

    def test_a_job_is_submitted_watched_and_cancelled(self):
        spec = job_file.small_job(self.output)
        job = self.call("SubmitJob", {"spec": spec})
        self.assertEqual((job["owner"], job["spec"]["target"]), ("alice", {"kv_heads": spec["target"]["kv_heads"]}))
        self.assertEqual([one["name"] for one in self.call("ListJobs", {})["jobs"]], [job["name"]])
        with self.open("WatchJob", {"name": job["name"]}) as events:
            self.call("CancelJob", {"name": job["name"]})
            states = [event["job"]["state"] for event in json.load(events)]
        self.assertEqual(states[-1], "JOB_STATE_CANCELLED")
        self.assertEqual(self.call("GetJob", {"name": job["name"]})["state"], "JOB_STATE_CANCELLED")

    def test_errors_keep_their_reasons(self):
        self.assertEqual(self.reason(404, "GetJob", {"name": "jobs/none"}), "RESOURCE_NOT_FOUND")
        self.assertEqual(self.reason(400, "SubmitJob", {"spec": {"name": "Not A Name"}}), "INVALID_FIELD")

    def test_an_unknown_key_is_ignored_as_the_page_says(self):
        spec = {**job_file.small_job(self.output), "no_such_key": 1}
        self.assertNotIn("no_such_key", self.call("SubmitJob", {"spec": spec, "validate_only": True})["spec"])

    def test_callers_need_a_token_and_reach_no_service_of_workers(self):
        self.assertEqual(self.reason(401, "ListJobs", {}, token="rg-unknown"), "CREDENTIALS_REQUIRED")
        worker = (self.folder / "node.token").read_text().strip()
        self.assertEqual(self.reason(403, "ListJobs", {}, token=worker), "NOT_ALLOWED")
        self.refuse(404, "RegisterWorker", {"worker": "w"}, token=worker, service="WorkerService")
        metadata = [("authorization", f"Bearer {worker}")]
        with grpc.insecure_channel(self.url.removeprefix("http://")) as channel:
            for path in ("WorkerService/RegisterWorker", "JobService/../WorkerService/Heartbeat", "JobService%2f../x"):
                with self.subTest(path), self.assertRaises(grpc.RpcError) as raised:
                    channel.unary_unary(f"/regroup.v1.{path}")(b"", metadata=metadata, timeout=30)
                self.assertIn(raised.exception.code(), (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL), path)
            # The services of callers are reached in gRPC too.
            channel.unary_unary("/regroup.v1.JobService/ListJobs")(
                b"", metadata=[("authorization", f"Bearer {self.token}")], timeout=30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
