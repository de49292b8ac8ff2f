"""Does what coordinator/api/README.md says, line by line, with a shell and grpcurl against a real coordinator over mutual
TLS: with tests/scenario/stand_ins/grpcurl.py, and also with the real program if it is installed.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from harness import places, processes
from harness.documented_cluster import TRAINER, DocumentedClusterTest, documented_commands

_PAGE = places.REPOSITORY / "coordinator/api/README.md"
_STAND_IN = pathlib.Path(__file__).parent / "stand_ins/grpcurl.py"
_REAL = shutil.which("grpcurl")
_INVALID_ARGUMENT, _UNAUTHENTICATED, _PERMISSION_DENIED, _FAILED_PRECONDITION = 64 + 3, 64 + 16, 64 + 7, 64 + 9


def assignments_and_calls():
    lines = documented_commands(_PAGE)
    return ([line for line in lines if not line.startswith("grpcurl")],
            [line for line in lines if line.startswith("grpcurl")])


def played(line):
    """Returns a job for the fake trainer of this test."""
    return line.replace('"team": "search"', '"team": "search", "behaviour": "job"')


def messages(text):
    """Returns the JSON values in an answer."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


class Grpcurl(DocumentedClusterTest):
    def start(self):
        for command in documented_commands()[:6]:
            self.follow(command)
        processes.wait_until(lambda: "node-1" in self.call("ListWorkers", self.use(_STAND_IN)), "the worker", 60, 0.3)

    def use(self, program):
        """Creates a folder for PATH in which that program is grpcurl."""
        folder = self.folder / f"bin-{pathlib.Path(program).suffix or 'real'}"
        if not folder.exists():
            folder.mkdir()
            interpreter = f"{sys.executable} " if str(program).endswith(".py") else ""
            (folder / "grpcurl").write_text(f'#!/bin/sh\nexec {interpreter}{program} "$@"\n')
            (folder / "grpcurl").chmod(0o755)
        return folder

    def call(self, what, folder, status=0, change=lambda line: line):
        """Runs the documented line that has these words with bash, unchanged."""
        assignments, calls = assignments_and_calls()
        line = next(call for call in calls if what in call)
        script = "\n".join([*assignments, change(line)])
        done = subprocess.run(["bash", "-c", self.at_port(script)], cwd=self.folder, text=True, capture_output=True,
                              env={**self.environment, "PATH": f"{folder}:{os.environ['PATH']}"}, timeout=90)
        self.assertEqual(done.returncode, status, f"{line}\n{done.stdout}{done.stderr}")
        self.said.append(line)
        return done.stdout + done.stderr

    def test_the_lines_do_what_they_say_with_a_stand_in(self):
        self.check_every_line(_STAND_IN)

    @unittest.skipUnless(_REAL, "grpcurl is not installed")
    def test_the_lines_do_what_they_say_with_the_real_program(self):
        self.check_every_line(_REAL)

    def check_every_line(self, program):
        self.said = []
        self.start()
        folder = self.use(program)
        self.said = []
        self.check_what_there_is(folder)
        self.check_jobs(folder)
        self.check_the_cluster(folder)
        self.check_errors(folder)
        self.assertEqual(sorted(set(self.said)), sorted(assignments_and_calls()[1]), "a line that was not tested")

    def check_what_there_is(self, folder):
        services = self.call("localhost:7447 list", folder).split()
        self.assertEqual(sorted(services), ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
                                            "regroup.v1.ClusterService", "regroup.v1.JobService",
                                            "regroup.v1.WorkerService"])
        self.assertIn("regroup.v1.JobService.SubmitJob", self.call("list regroup", folder).split())
        self.assertIn("rpc WatchJob ( .regroup.v1.WatchJobRequest ) returns ( stream .regroup.v1.JobEvent );",
                      self.call("describe", folder))

    def check_jobs(self, folder):
        self.assertTrue(messages(self.call("GetServerInfo", folder))[0]["version"])
        first, again = (messages(self.call('"request_id"', folder, change=played))[0] for _ in range(2))
        self.assertEqual(first["name"], "jobs/small")
        self.assertEqual((again["name"], again["createTime"]), (first["name"], first["createTime"]))
        events = messages(self.call("WatchJob", folder))
        self.assertEqual(events[-1]["job"]["state"], "JOB_STATE_SUCCEEDED")
        self.assertEqual(messages(self.call("GetJob", folder))[0]["owner"], "alice")
        self.assertEqual([job["name"] for job in messages(self.call("ListJobs", folder))[0]["jobs"]], ["jobs/small"])
        lines = messages(self.call("StreamLogs", folder))
        self.assertEqual([line["message"] for line in lines], ["played by rank 0"])
        self.assertEqual(messages(self.call("StreamMetrics", folder)), [])
        for call in ("PauseJob", "ResumeJob"):
            refused = self.call(call, folder, _FAILED_PRECONDITION)
            self.assertRegex(refused, r'"reason": ?"WRONG_STATE"')
        self.assertEqual(messages(self.call("CancelJob", folder))[0]["state"], "JOB_STATE_SUCCEEDED")
        self.assertEqual(messages(self.call("DeleteJob", folder)), [{}])
        # Fields in camel case are the same.
        answer = self.call('"request_id"', folder, change=lambda line: line.replace("job_id", "jobId").replace("first", "2nd"))
        self.assertEqual(messages(answer)[0]["name"], "jobs/small")

    def check_the_cluster(self, folder):
        self.assertEqual(messages(self.call("ListWorkers", folder))[0]["workers"][0]["name"], "workers/node-1")
        self.assertEqual(messages(self.call("/DrainWorker", folder))[0]["state"], "WORKER_STATE_DRAINING")
        self.assertEqual(messages(self.call("UndrainWorker", folder))[0]["state"], "WORKER_STATE_READY")

    def check_errors(self, folder):
        refused = self.call("validate_only", folder, _INVALID_ARGUMENT)
        self.assertIn("Code: InvalidArgument", refused)
        self.assertRegex(refused, r'"reason": ?"INVALID_FIELD"')
        self.assertIn("target.kv_heads", refused)
        # What the page says of certificates and tokens.
        without_token = self.call("GetServerInfo", folder, _UNAUTHENTICATED, lambda line: line.replace('-H "$TOKEN" ', ""))
        self.assertRegex(without_token, r'"reason": ?"CREDENTIALS_REQUIRED"')
        as_alice = self.call("/DrainWorker", folder, _PERMISSION_DENIED,
                             lambda line: line.replace("keys/admin.token", "keys/alice.token"))
        self.assertRegex(as_alice, r'"reason": ?"NOT_ALLOWED"')
        for what in ("localhost:7447 list", "describe", "GetServerInfo"):
            self.call(what, folder, 1, lambda line: line.replace("$CERTIFICATES", "-cacert keys/authority.pem"))


if __name__ == "__main__":
    if not TRAINER.exists():
        print(f"SKIPPED: {TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
