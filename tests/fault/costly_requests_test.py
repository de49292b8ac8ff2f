#!/usr/bin/env python3
"""Requests that are made to cost more than their bytes: compressed ones, millions of empty messages, messages that never
end, streams that are opened and reset, from a hundred callers with and without a token. The coordinator refuses them, answers others meanwhile, and its
memory stays within the 256 MiB that deploy/OPERATIONS.md and the chart give it; so does a worker's gang server.

REGROUP_TEST_ROUNDS repeats the crowd's attack. With more than one round the coordinator also runs in a control group of
256 MiB, if this machine lets the test make one.
"""

import os
import pathlib
import re
import subprocess
import threading
import time
import unittest

import grpc

from harness import places, processes
from harness.program_test import ProgramTest
from harness.raw_http2 import HalfMessage, StreamFlood

_ROUNDS = int(os.environ.get("REGROUP_TEST_ROUNDS", 1))
_CROWD = 100
_MOST_MEMORY = 256 << 20
# Memory that the coordinator may keep after an attack, beyond what it had at rest.
_MOST_KEPT = 32 << 20
# Above the coordinator's own bound (--memory-mib) come the calls that gRPC has begun until their connection is ended.
_LIMIT_OF_CHART = 1 << 30
_FLOOD_S = 3
_GROUPS = pathlib.Path("/sys/fs/cgroup")
_SUBMIT, _LIST = "/regroup.v1.JobService/SubmitJob", "/regroup.v1.JobService/ListJobs"
_PUSH, _HEALTH = "/regroup.v1.WorkerService/PushLogs", "/grpc.health.v1.Health/Check"
_RELAY = "/regroup.v1.GangService/RelayReport"


def varint(number):
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def field(number, content):
    """Encodes a length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def empty_messages(count):
    """Returns a SubmitJobRequest with that many empty sets of questions, two bytes each."""
    evaluation = field(2, b"") * count
    return field(2, field(9, evaluation))


def memory_of(process, key):
    """Returns VmRSS or VmHWM in bytes."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {process.pid} has no {key}")


class Caller:
    """A client with a connection of its own."""

    def __init__(self, port, token=None):
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def call(self, path, body, compression=None):
        """Returns the name of the answer's code."""
        method = self._channel.unary_unary(path)
        try:
            method(body, timeout=60, metadata=self._metadata, compression=compression)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def close(self):
        self._channel.close()


class CostlyRequestsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.tokens = self.folder / "tokens"
        self.user, self.worker_token = self.add_token("alice", "submitter"), self.add_token("w1", "worker")
        self.cluster = self.start_cluster(workers=0, coordinator_arguments=["--tokens", self.tokens, "--memory-mib",
                                                                            str(_MOST_MEMORY >> 21)])
        self.port = int(self.cluster.address.split(":")[1])
        self.coordinator = self.cluster.coordinator
        self.assertEqual(self.call(_LIST, b"", self.user), "OK")
        self.at_rest = memory_of(self.coordinator, "VmRSS")

    def add_token(self, name, role):
        made = subprocess.run([places.PROGRAMS / "regroup-coordinator", "token", "add", name, "--role", role, "--tokens",
                               self.tokens], capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def call(self, path, body, token=None, compression=None):
        caller = Caller(self.port, token)
        try:
            return caller.call(path, body, compression)
        finally:
            caller.close()

    def gang_port(self):
        found = re.search(r'of gangs".*127.0.0.1:(\d+)"', (self.folder / "worker-1.log").read_text())
        return found and int(found.group(1))

    def assert_memory_is_bounded(self, most=_MOST_MEMORY, kept=_MOST_KEPT):
        self.assertIsNone(self.coordinator.poll(), "the coordinator ended")
        peak = memory_of(self.coordinator, "VmHWM")
        print(f"at rest {self.at_rest >> 20} MiB, at most {peak >> 20} MiB, "
              f"now {memory_of(self.coordinator, 'VmRSS') >> 20} MiB")
        self.assertLess(peak, most)
        processes.wait_until(lambda: memory_of(self.coordinator, "VmRSS") < self.at_rest + kept,
                             "the memory to be given back", 60, pause_s=0.2)

    def test_compressed_requests_are_refused_and_not_unpacked(self):
        bomb = field(3, b"a" * (64 << 20))
        for path, token in ((_SUBMIT, None), (_SUBMIT, self.user), (_PUSH, self.worker_token), (_HEALTH, None)):
            for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
                self.assertEqual(self.call(path, bomb, token, compression), "UNIMPLEMENTED", path)
        self.assertLess(memory_of(self.coordinator, "VmHWM"), self.at_rest + _MOST_KEPT)

    def test_a_worker_refuses_them_too(self):
        self.cluster.stop()
        self.cluster = self.start_cluster(workers=1, worker_arguments=["--gang-listen", "127.0.0.1:0"])
        worker = self.cluster.workers["worker-1"]
        port = processes.wait_until(self.gang_port, "the gang server", 60, pause_s=0.1)
        rest = memory_of(worker, "VmRSS")
        caller = Caller(port)
        bomb = field(2, b"a" * (64 << 20))
        self.assertEqual(caller.call(_RELAY, bomb, grpc.Compression.Gzip), "UNIMPLEMENTED")
        self.assertLess(memory_of(worker, "VmHWM"), rest + _MOST_KEPT)
        self.assertNotEqual(caller.call(_RELAY, field(2, field(4, b"") * 2_000_000)), "OK")
        self.assertLess(memory_of(worker, "VmHWM"), rest + 2 * _MOST_KEPT)
        caller.close()

    def test_the_limits_are_those_of_the_call_and_of_the_caller(self):
        large, small = field(3, b"a" * (2 << 20)), field(3, b"a" * 1000)
        self.assertEqual(self.call(_SUBMIT, large), "UNAUTHENTICATED")
        self.assertEqual(self.call(_SUBMIT, large, self.worker_token), "PERMISSION_DENIED")
        self.assertEqual(self.call(_SUBMIT, large, self.user), "RESOURCE_EXHAUSTED")
        self.assertEqual(self.call(_SUBMIT, small, self.user), "INVALID_ARGUMENT")
        # A worker sends more lines at once than a user sends in a job file: they are read, and then nobody knows it.
        name, report = field(1, b"w1"), field(3, field(2, field(7, b"a" * 10_000)) * 200)
        self.assertEqual(self.call(_PUSH, name + report, self.worker_token), "NOT_FOUND")
        self.assertEqual(self.call(_PUSH, name + report * 3, self.worker_token), "RESOURCE_EXHAUSTED")
        self.assertEqual(self.call(_PUSH, field(3, field(2, b"") * 100_000), self.worker_token), "INVALID_ARGUMENT")

    def test_many_empty_messages_cost_no_more_than_their_bytes(self):
        for token, expected in ((None, "UNAUTHENTICATED"), (self.user, "INVALID_ARGUMENT")):
            for _ in range(5):
                self.assertEqual(self.call(_SUBMIT, empty_messages(500_000), token), expected)
        self.assertNotEqual(self.call(_SUBMIT, empty_messages(7_000_000), self.user), "OK")
        self.assertLess(memory_of(self.coordinator, "VmHWM"), self.at_rest + 2 * _MOST_KEPT)
        self.assert_memory_is_bounded()

    def test_a_message_that_never_ends_keeps_nobody_out(self):
        """Without a token the coordinator takes in no more than one window; where it answers everybody, as health checks
        do, what all connections send together is bounded."""
        with HalfMessage(self.port, _SUBMIT, 1 << 30) as refused:
            self.assertLess(refused.send(64 << 20), 4 << 20)
        held = [HalfMessage(self.port, _HEALTH, 1 << 30, patience_s=2) for _ in range(12)]
        sent = sum(half.send(12 << 20) for half in held)
        print(f"12 connections sent {sent >> 20} MiB")
        for _ in range(20):
            self.assert_answers()
        for half in held:
            half.close()
        self.assert_memory_is_bounded()

    def test_streams_without_end(self):
        """A few bytes open a stream, and a few more reset it, while gRPC makes and unmakes a call of kilobytes."""
        for kind in StreamFlood.KINDS:
            with self.subTest(kind), StreamFlood(self.port, _LIST, kind) as flood:
                until = time.monotonic() + _FLOOD_S * _ROUNDS
                while time.monotonic() < until:
                    time.sleep(0.1)
                print(f"{kind}: {flood.streams} streams, at most {memory_of(self.coordinator, 'VmHWM') >> 20} MiB")
            self.assert_answers()
        self.assert_memory_is_bounded(_LIMIT_OF_CHART, 6 * _MOST_KEPT)

    def test_a_crowd_without_a_token_keeps_nobody_out(self):
        for round_number in range(_ROUNDS):
            with self.crowd():
                for _ in range(20):
                    self.assert_answers()
            print(f"round {round_number + 1} of {_ROUNDS}")
            self.assert_memory_is_bounded()

    @unittest.skipIf(_ROUNDS == 1, "only in tests/nightly.sh")
    def test_a_crowd_in_a_control_group_of_256_mib(self):
        group = memory_group(f"regroup-test-{os.getpid()}", _MOST_MEMORY)
        if group is None:
            self.skipTest("no memory control group can be made here")
        self.addCleanup(group.rmdir)
        self.addCleanup(lambda: processes.kill_now(self.coordinator))
        (group / "cgroup.procs").write_text(str(self.coordinator.pid))
        for _ in range(_ROUNDS):
            with self.crowd():
                for _ in range(20):
                    self.assert_answers()
        self.assert_memory_is_bounded()

    def assert_answers(self):
        """A new client is answered, at its second or third try if its first one met the limit of what is buffered."""
        answers = [self.call(_LIST, b"", self.user)]
        while answers[-1] != "OK" and len(answers) < 10:
            answers.append(self.call(_LIST, b"", self.user))
        self.assertEqual(answers[-1], "OK", answers)

    def crowd(self):
        """Attacks from a hundred connections while the block runs."""
        bodies = [(_SUBMIT, empty_messages(500_000), None), (_SUBMIT, empty_messages(4_000_000), None),
                  (_PUSH, field(3, b"a" * (4 << 20)), None), (_HEALTH, field(1, b"a" * (3 << 20)), None),
                  (_SUBMIT, field(3, b"a" * (8 << 20)), grpc.Compression.Gzip)]
        return Crowd(self.port, bodies)


class Crowd:
    def __init__(self, port, bodies):
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._attack, args=(port, *bodies[number % len(bodies)]))
                         for number in range(_CROWD)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _attack(self, port, path, body, compression):
        while not self._over.is_set():
            caller = Caller(port)
            caller.call(path, body, compression)
            caller.close()


def memory_group(name, most_bytes):
    """Makes a control group with that much memory; returns None if that is not possible here."""
    for parent, limit in ((_GROUPS / "memory", "memory.limit_in_bytes"), (_GROUPS, "memory.max")):
        group = parent / name
        try:
            group.mkdir()
            (group / limit).write_text(str(most_bytes))
            return group
        except OSError:
            if group.exists():
                group.rmdir()
    return None


if __name__ == "__main__":
    unittest.main(verbosity=2)
