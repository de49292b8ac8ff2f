#!/usr/bin/env python3
"""Limits what one caller can hold: plans that never end, streams, unfinished jobs. Others are served meanwhile, a plan that
hangs is given up, and neither SIGTERM nor kill -9 of the coordinator leaves it behind.
"""

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import threading
import unittest

import grpc

from harness import job_file, places, processes
from harness.cluster import run_regroup
from harness.program_test import ProgramTest

_PLAN_TIMEOUT_S = 5
_PATIENCE_S = 60


def field(number, text):
    return bytes([number << 3 | 2, len(text)]) + text.encode()


class FairSharesTest(ProgramTest):
    def start(self, *arguments):
        tokens = self.folder / "tokens"
        for name in ("alice", "bob"):
            made = subprocess.run([places.PROGRAMS / "regroup-coordinator", "token", "add", name, "--role", "submitter",
                                   "--tokens", tokens], capture_output=True, text=True, check=True)
            (self.folder / f"{name}.token").write_text(made.stdout)
        self.cluster = self.start_cluster(workers=0, coordinator_arguments=["--tokens", tokens, *arguments])
        self.job = self.write_job(job_file.small_job(self.output))

    def regroup(self, caller, *arguments):
        environment = {"REGROUP_COORDINATOR": self.cluster.address,
                       "REGROUP_TOKEN_FILE": str(self.folder / f"{caller}.token")}
        return run_regroup(*arguments, environment=environment)

    def submit(self, caller, job):
        """Returns the name of the new job."""
        return json.loads(self.regroup(caller, "submit", job, "--json").stdout)["name"]

    @contextlib.contextmanager
    def plans(self, caller, count=1):
        """Asks for plans while the block runs; yields the answers, which grow."""
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.regroup(caller, "plan", "--remote", self.job)))
                   for _ in range(count)]
        for thread in threads:
            thread.start()
        yield answers
        for thread in threads:
            thread.join()

    def stopped_plan(self):
        """Stops the trainer that makes a plan for the coordinator, and returns it."""
        found = processes.wait_until(lambda: processes.children_of(self.cluster.coordinator, "regroup-trainer"),
                                     "the plan's trainer", _PATIENCE_S, pause_s=0.001)[0]
        os.kill(found.pid, signal.SIGSTOP)
        return found

    def assert_gone(self, process):
        processes.wait_until(lambda: not os.path.exists(f"/proc/{process.pid}"), "the end of the plan", _PATIENCE_S)

    def test_a_plan_that_hangs_is_given_up(self):
        self.start("--plan-timeout-s", _PLAN_TIMEOUT_S)
        with self.plans("alice") as answers:
            hanging = self.stopped_plan()
        self.assertNotEqual(answers[0].returncode, 0)
        self.assertIn(f"did not finish within {_PLAN_TIMEOUT_S} s", answers[0].stderr)
        self.assert_gone(hanging)
        self.assertEqual(self.regroup("bob", "plan", "--remote", self.job).returncode, 0)

    def test_plans_of_one_caller_leave_room_for_others(self):
        self.start("--plan-timeout-s", _PLAN_TIMEOUT_S, "--max-plans-per-caller", 2)
        with self.plans("alice", 3) as answers:
            self.stopped_plan()
            processes.wait_until(lambda: answers, "the refusal of the third plan", _PATIENCE_S)
            self.assertIn('2 plans of "alice" are waiting already', answers[0].stderr)
            self.assertEqual(self.regroup("bob", "plan", "--remote", self.job).returncode, 0)

    def test_a_plan_ends_with_its_caller(self):
        self.start("--plan-timeout-s", 600)
        command = [places.PROGRAMS / "regroup", "--coordinator", self.cluster.address, "--token-file",
                   self.folder / "alice.token", "plan", "--remote", self.job]
        caller = processes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        hanging = self.stopped_plan()
        processes.kill_now(caller)
        self.assert_gone(hanging)

    def test_sigterm_ends_the_coordinator_while_a_plan_hangs(self):
        self.start("--plan-timeout-s", 600)
        with self.plans("alice", 2) as answers:
            hanging = self.stopped_plan()
            self.cluster.coordinator.send_signal(signal.SIGTERM)
            self.assertEqual(self.cluster.coordinator.wait(_PATIENCE_S), 0)
            self.assert_gone(hanging)
        self.assertTrue(all(answer.returncode != 0 for answer in answers))

    def test_a_plan_does_not_outlive_a_killed_coordinator(self):
        self.start("--plan-timeout-s", 600)
        with self.plans("alice"):
            hanging = self.stopped_plan()
            self.cluster.kill_coordinator()
            self.assert_gone(hanging)

    def test_a_plan_has_only_its_share_of_memory(self):
        self.start("--plan-memory-mib", 256)
        with self.plans("alice") as answers:
            plan = self.stopped_plan()
            facts = pathlib.Path(f"/proc/{plan.pid}")
            limits, adjustment = (facts / "limits").read_text(), (facts / "oom_score_adj").read_text()
            os.kill(plan.pid, signal.SIGCONT)
        self.assertEqual(answers[0].returncode, 0, answers[0].stderr)
        self.assertRegex(limits, rf"Max data size +{256 << 20} ")
        self.assertEqual(adjustment.strip(), "1000")

    def test_streams_of_one_caller_leave_room_for_others(self):
        self.start("--max-streams-per-caller", 3)
        second = self.write_job(job_file.small_job(self.results / "second"), "second.yaml")
        alices, bobs = self.submit("alice", self.job), self.submit("bob", second)
        with grpc.insecure_channel(self.cluster.address) as channel:
            held = [self.watch(channel, "alice", alices) for _ in range(3)]
            for stream in held:
                next(stream)
            with self.assertRaises(grpc.RpcError) as refused:
                next(self.watch(channel, "alice", alices))
            self.assertEqual(refused.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertIn('3 streams of "alice" are open', refused.exception.details())
            next(self.watch(channel, "bob", bobs))
            held[0].cancel()
            processes.wait_until(lambda: self.can_watch(channel, alices), "room for alice", _PATIENCE_S)

    def watch(self, channel, caller, job):
        token = (self.folder / f"{caller}.token").read_text().strip()
        return channel.unary_stream("/regroup.v1.JobService/WatchJob")(
            field(1, job), metadata=[("authorization", f"Bearer {token}")])

    def can_watch(self, channel, job):
        try:
            next(self.watch(channel, "alice", job))
            return True
        except grpc.RpcError:
            return False

    def test_a_coordinator_that_is_out_of_open_files_ends_and_says_so(self):
        """gRPC never accepts again, so the process must end: its supervisor starts it anew."""
        self.start()
        coordinator, port = self.cluster.coordinator, int(self.cluster.address.split(":")[1])
        used = len(os.listdir(f"/proc/{coordinator.pid}/fd"))
        resource.prlimit(coordinator.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
        with contextlib.ExitStack() as crowd:
            for _ in range(200):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S))
            self.assertEqual(coordinator.wait(_PATIENCE_S), 1)
        self.assertIn("accepts no connections any more", (self.folder / "coordinator.log").read_text())

    def test_unfinished_jobs_of_one_caller_leave_room_for_others(self):
        self.start("--max-unfinished-jobs-per-caller", 2)
        jobs = [self.write_job(job_file.small_job(self.results / str(number)), f"{number}.yaml") for number in range(4)]
        for job in jobs[:2]:
            self.assertEqual(self.regroup("alice", "submit", job).returncode, 0)
        refused = self.regroup("alice", "submit", jobs[2])
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn('2 jobs of "alice" are unfinished', refused.stderr)
        self.assertEqual(self.regroup("bob", "submit", jobs[3]).returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
