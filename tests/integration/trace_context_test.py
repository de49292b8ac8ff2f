#!/usr/bin/env python3
"""The W3C trace context of a submission: the job keeps it, trainers get it, and the JSON logs of coordinator, worker and trainers
carry it; a malformed one is ignored.

Needs Python with grpc, for calls that the command line would not make.
"""

import json
import pathlib
import unittest

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from harness import cluster, job_file
from harness.program_test import ProgramTest

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def lines_of(log):
    """Yields the JSON lines of a log; other programs may write there too."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


class TraceContext(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)

    def job_of(self, name, **changes):
        return self.write_job(job_file.small_job(self.results / name, name=name, **changes), f"{name}.yaml")

    def submit(self, file, *arguments, environment=None):
        done = cluster.run_regroup("submit", file, "--json", *arguments, coordinator=self.cluster.address,
                                   environment=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_reaches_job_trainers_and_logs(self):
        job = self.submit(self.job_of("traced"), "--traceparent", TRACE)
        self.assertEqual(job["traceparent"], TRACE)
        name = job["name"].removeprefix("jobs/")
        for rank in self.cluster.wait_for_trainers("finetune/", 2):
            self.assertIn(f"\0TRACEPARENT={TRACE}\0", "\0" + pathlib.Path(f"/proc/{rank.pid}/environ").read_text())
        self.assert_succeeded(self.cluster.wait_for_end(name))
        for log, messages in (("coordinator", {"job accepted", "attempt reported"}),
                              ("worker-1", {"attempt started", "attempt ended"})):
            lines = [line for line in lines_of(self.folder / f"{log}.log") if line["message"] in messages]
            self.assertEqual({line["message"] for line in lines}, messages)
            self.assertEqual({line.get("traceparent") for line in lines}, {TRACE}, log)

    def test_is_in_every_line_of_a_trainer(self):
        """A trainer that fails says why in its log."""
        job = self.submit(self.job_of("failing", calibration={"data": "/nothing.jsonl"}), "--traceparent", TRACE)
        name = job["name"].removeprefix("jobs/")
        self.assertEqual(self.cluster.wait_for_end(name)["state"], "JOB_STATE_FAILED")
        lines = [line for log in self.cluster.work.glob(f"jobs/{name}/*/*/logs/**/stderr") for line in lines_of(log)]
        self.assertTrue(lines)
        self.assertEqual({line.get("traceparent") for line in lines}, {TRACE})
        # The job's log does not repeat in each message what the job says once.
        self.assertNotIn("traceparent", self.cluster.regroup("logs", name).stdout)

    def test_is_taken_from_the_environment_unless_the_option_says_otherwise(self):
        file = self.job_of("variable", finetune={"method": "none"})
        environment = {"TRACEPARENT": TRACE}
        self.assertEqual(self.submit(file, environment=environment)["traceparent"], TRACE)
        chosen = self.submit(file, "--traceparent", OTHER_TRACE, environment=environment)
        self.assertEqual(chosen["traceparent"], OTHER_TRACE)

    def test_of_the_environment_reaches_a_local_run(self):
        file = self.job_of("local", calibration={"data": "/nothing.jsonl"})
        work = self.folder / "local-work"
        done = cluster.run_regroup("run", file, "--work-dir", work, environment={"TRACEPARENT": TRACE})
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = [line for log in work.glob("jobs/*/*/*/logs/**/stderr") for line in lines_of(log)]
        self.assertEqual({line.get("traceparent") for line in lines}, {TRACE})

    def test_survives_the_coordinator_and_stays_with_a_repeated_request(self):
        file = self.job_of("repeated", finetune={"steps": 100000})
        first = self.submit(file, "--traceparent", TRACE, "--request-id", "one")
        self.cluster.kill_coordinator()
        self.cluster.start_coordinator()
        self.assertEqual(self.cluster.job(first["name"].removeprefix("jobs/"))["traceparent"], TRACE)
        again = self.submit(file, "--traceparent", OTHER_TRACE, "--request-id", "one")
        self.assertEqual((again["name"], again["traceparent"]), (first["name"], TRACE))

    def test_a_malformed_one_is_refused_where_it_was_typed_and_ignored_elsewhere(self):
        file = self.job_of("malformed", finetune={"method": "none"})
        typed = self.cluster.regroup("submit", file, "--traceparent", TRACE.upper())
        self.assertEqual(typed.returncode, 2)
        self.assertIn("W3C traceparent", typed.stderr)
        self.assertNotIn("traceparent", self.submit(file, environment={"TRACEPARENT": TRACE.upper()}))
        with grpc.insecure_channel(self.cluster.address) as channel:
            for metadata in ([("traceparent", TRACE.upper())], [("traceparent", TRACE[:-1])], [("traceparent", "")], []):
                self.assertNotIn("traceparent", submit_by_grpc(channel, file, metadata), metadata)
            self.assertEqual(submit_by_grpc(channel, file, [("traceparent", TRACE)])["traceparent"], TRACE)


def submit_by_grpc(channel, file, metadata):
    """Submits with these metadata, by the server's reflection. Returns the job."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("regroup.v1.JobService").methods_by_name["SubmitJob"]
    request_type, reply_type = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    stub = channel.unary_unary("/regroup.v1.JobService/SubmitJob", request_serializer=request_type.SerializeToString,
                               response_deserializer=reply_type.FromString)
    request = json_format.ParseDict({"spec": json.loads(file.read_text())}, request_type())
    reply = stub(request, timeout=60, metadata=metadata)
    return json_format.MessageToDict(reply, preserving_proto_field_name=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
