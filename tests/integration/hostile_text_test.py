#!/usr/bin/env python3
"""Text that is not ours is shown as text: what comes from a checkpoint, a data file, a label, a path, a worker or a trainer
neither steers the terminal nor begins a line of its own nor hides anything, in no command and in no log.

Needs Python with grpc, for a worker that the test plays itself.
"""

import json
import os
import pty
import re
import shutil
import struct
import subprocess
import unicodedata
import unittest

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from harness import job_file, places, processes
from harness.program_test import ProgramTest

# A title, a cleared screen, a C1 control, a change of direction, an invisible character, a line that looks like another.
HOSTILE = "\x1b]0;PWNED\x07\x1b[2J\x9b2J\u202e\u200b\nFORGED"
# The part of it that YAML and file names may hold.
HOSTILE_NAME = "\x9b2J\u202e\u200b"
# The sequences that regroup itself sends: colours, the cursor, the rest of a line or of the screen.
OURS = re.compile(r"\x1b\[(?:\d+m|\?25[hl]|\d+F|K|J)")


class HostileTextTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)

    def assert_shown_as_text(self, output, source):
        text = OURS.sub("", output.decode("utf-8").replace("\r\n", "\n"))
        raw = {character for character in text
               if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")}
        self.assertEqual(raw, set(), f"{source}: {text!r}")
        self.assertNotRegex(text, r"(?m)^(regroup: )?FORGED", source)
        return text

    def show(self, *arguments):
        """Runs a command with a pipe and on a terminal; both must show text. Returns the pipe's."""
        command = [str(places.PROGRAMS / "regroup"), "--coordinator", self.cluster.address, *map(str, arguments)]
        environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self.assert_shown_as_text(on_terminal(command, environment), f"{arguments} on a terminal")
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return self.assert_shown_as_text(done.stdout, arguments)

    def show_job(self, job):
        shown = {command: self.show(command, job) for command in ("get", "watch", "logs")}
        shown["list"] = self.show("list")
        self.show("top", "--once")
        self.show("top", "--json")
        for command in ("get", "logs", "list"):
            self.show(command, *([] if command == "list" else [job]), "--json")
        for log in self.folder.glob("*.log"):
            self.assert_shown_as_text(log.read_bytes(), log.name)
        return shown

    def run_job(self, name, **changes):
        path = self.folder / f"{name}.yaml"
        job = job_file.small_job(self.results / name, name=name, **changes)
        path.write_text(json.dumps(job))
        submitted = self.cluster.submit(path)
        self.cluster.wait_for_end(submitted)
        return submitted

    def copy_of_model(self):
        return shutil.copytree(places.MODEL, self.folder / "source")

    def test_of_a_configuration(self):
        source = self.copy_of_model()
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, "model_type": HOSTILE}))
        self.assertIn("PWNED", self.show("inspect", source))
        shown = self.show_job(self.run_job("configuration", source={"checkpoint": str(source)}))
        self.assertIn("PWNED", shown["get"])

    def test_of_a_tensor(self):
        source = self.copy_of_model()
        header = json.dumps({HOSTILE: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        (source / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
        self.show("inspect", source)
        self.show_job(self.run_job("tensor", source={"checkpoint": str(source)}))

    def test_of_a_data_file(self):
        data = self.folder / "data.jsonl"
        data.write_text(json.dumps({HOSTILE: "x"}) + "\n")
        self.show_job(self.run_job("data", calibration={"data": str(data)}, finetune={"data": str(places.TRAINING_TEXT)}))

    def test_of_labels_and_paths(self):
        data = self.folder / f"data{HOSTILE_NAME}.jsonl"
        data.write_text("{}\n")
        job = self.run_job("paths", labels={f"key{HOSTILE_NAME}": HOSTILE_NAME}, calibration={"data": str(data)},
                           finetune={"data": str(places.TRAINING_TEXT)})
        self.assertIn("202e", self.show_job(job)["get"])

    def test_of_a_report(self):
        folder = self.folder / f"result{HOSTILE_NAME}"
        folder.mkdir()
        report = {"summary": [HOSTILE], HOSTILE: HOSTILE, "job": HOSTILE,
                  "models": [{"name": HOSTILE, "perplexity": 1.0}], "stages": [{"name": HOSTILE, "seconds": 1}]}
        (folder / "report.json").write_text(json.dumps(report))
        self.show("report", folder)
        self.show("report", folder, "--json")

    def test_of_a_worker_and_its_trainers(self):
        [worker] = processes.wait_until(lambda: self.cluster.json_of("workers").get("workers"), "the worker", 60)
        self.cluster.regroup("drain", "worker-1", check=True)
        guest = {"worker": "guest", "incarnation": "5"}
        with grpc.insecure_channel(self.cluster.address) as channel:
            # Control characters are refused in a registration, other text is not.
            refused = call_worker_service(channel, "RegisterWorker", {
                **guest, "slots": 1, "host": HOSTILE, "version": worker["version"]})
            self.assertEqual(refused, grpc.StatusCode.INVALID_ARGUMENT)
            call_worker_service(channel, "RegisterWorker", {
                **guest, "slots": 1, "host": HOSTILE_NAME, "device": HOSTILE_NAME, "device_name": HOSTILE_NAME,
                "version": worker["version"]})
            path = self.write_job(job_file.small_job(self.results / "worker", name="worker"))
            job = self.cluster.submit(path)
            taken = call_worker_service(channel, "AcquireTask", {**guest, "free_slots": 1, "wait": "30s"})
            attempt = json_format.MessageToDict(taken)["assignment"]["attempt"]
            self.assertEqual(attempt["job"], job)
            call_worker_service(channel, "PushLogs", {**guest, "reports": [{
                "attempt": attempt, "logs": [{"message": HOSTILE, "severity": "LOG_SEVERITY_ERROR"}]}]})
            call_worker_service(channel, "ReportTask", {**guest, "attempt": attempt, "outcome": {
                "failure": {"failure_class": "FAILURE_CLASS_USER", "message": HOSTILE}}})
            call_worker_service(channel, "ReportTask", {
                "attempt": {"job": HOSTILE, "task": HOSTILE, "epoch": "1"}, "worker": HOSTILE})
        self.cluster.wait_for_end(job)
        self.show("workers")
        self.show("workers", "--json")
        shown = self.show_job(job)
        self.assertIn("PWNED", shown["logs"])
        self.assertIn("PWNED", shown["get"])
        self.show("drain", "guest")
        self.show("audit")
        self.show("get", HOSTILE)


def on_terminal(command, environment):
    """Runs a command whose output is a terminal; returns the output."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=its, stderr=its)
    os.close(its)
    output = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:
            # Linux reports the end of a terminal's other side as EIO.
            read = b""
        if not read:
            break
        output += read
    os.close(ours)
    process.wait(timeout=120)
    return output


def call_worker_service(channel, method_name, request):
    """Makes a call of WorkerService by the server's reflection; a refusal is fine."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("regroup.v1.WorkerService").methods_by_name[method_name]
    request_type, reply_type = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    stub = channel.unary_unary(f"/regroup.v1.WorkerService/{method_name}",
                               request_serializer=request_type.SerializeToString,
                               response_deserializer=reply_type.FromString)
    try:
        return stub(json_format.ParseDict(request, request_type()), timeout=60)
    except grpc.RpcError as error:
        return error.code()


if __name__ == "__main__":
    unittest.main(verbosity=2)
