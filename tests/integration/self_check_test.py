#!/usr/bin/env python3
"""A worker that checks its machine takes tasks only if every slot computes and all of them communicate."""

import json
import signal
import subprocess
import unittest

from harness import cluster, places, processes
from harness.program_test import ProgramTest


class SelfCheckTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=0)

    def start_worker(self, *arguments, slots=2):
        """Starts a worker with its log in the file that it returns."""
        log = self.folder / "checked.log"
        command = [places.PROGRAMS / "regroup-worker", "--coordinator", self.cluster.address, "--work-dir",
                   self.cluster.work, "--id", "checked", "--slots", slots, "--device", "cpu", *arguments]
        with open(log, "wb") as output:
            worker = processes.start(command, stdout=output, stderr=output)
        self.cluster.workers["checked"] = worker
        return worker, log

    def script(self, text):
        """Returns a program that stands in for the trainer."""
        file = self.folder / "trainer.sh"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file

    def workers(self):
        return [worker["name"] for worker in self.cluster.json_of("workers").get("workers", [])]

    def assert_refused(self, worker, log, reason, status=1):
        self.assertEqual(worker.wait(timeout=120), status)
        self.assertRegex(log.read_text(), reason)
        self.assertEqual(self.workers(), [], "a worker that failed its check has registered")
        self.assert_nothing_left_of_worker()

    def assert_nothing_left_of_worker(self):
        self.assertEqual(processes.processes_with("REGROUP_WORKER=checked@"), [])

    def test_two_slots_that_are_well(self):
        _, log = self.start_worker("--self-check", "always")
        processes.wait_until(self.workers, "the worker's registration", 120)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        found = json.loads(next(line for line in lines if line["message"] == "checked this machine")["figures"])
        self.assertEqual((found["ranks"], found["device"]), (2, "cpu"))
        self.assertGreater(found["bytes_per_second"], 1e6)

    def test_ten_slots_whose_folders_have_other_names(self):
        self.start_worker("--self-check", "always", slots=10)
        processes.wait_until(self.workers, "the worker's registration", 120)

    def test_a_library_that_prints(self):
        trainer = self.script(f'echo "NCCL version 2.28.3"; exec {places.PROGRAMS / "regroup-trainer"} "$@"')
        self.start_worker("--self-check", "always", "--trainer", trainer)
        processes.wait_until(self.workers, "the worker's registration", 120)

    def test_ranks_that_do_not_find_one_another(self):
        trainer = self.script(f'unset $(env | grep -o "^[A-Z]*MPI[^=]*\\|^PMIX[^=]*\\|^OMPI[^=]*")\n'
                              f'exec {places.PROGRAMS / "regroup-trainer"} "$@"')
        worker, log = self.start_worker("--self-check", "always", "--trainer", trainer)
        self.assert_refused(worker, log, "failed its check: 1 of 2 ranks found one another")

    def test_one_slot_needs_no_mpirun(self):
        self.start_worker("--self-check", "always", "--mpirun", "/bin/false", slots=1)
        processes.wait_until(self.workers, "the worker's registration", 120)

    def test_without_the_check_nothing_runs_before_the_first_task(self):
        self.start_worker("--trainer", "/bin/false", "--self-check", "never")
        processes.wait_until(self.workers, "the worker's registration", 60)

    def test_an_mpirun_that_does_not_start(self):
        worker, log = self.start_worker("--self-check", "always", "--mpirun", "/bin/false")
        self.assert_refused(worker, log, "this machine failed its check")

    def test_a_rank_that_ends(self):
        trainer = self.script(f'[ "$OMPI_COMM_WORLD_RANK" = 1 ] && exit 3\nexec {places.PROGRAMS / "regroup-trainer"} "$@"')
        worker, log = self.start_worker("--self-check", "always", "--trainer", trainer)
        self.assert_refused(worker, log, "this machine failed its check: .*[Ee]xit code")

    def test_a_rank_that_says_why(self):
        trainer = self.script("""echo '{"severity": "ERROR", "message": "GPU 1 is on fire"}' >&2; exit 1""")
        worker, log = self.start_worker("--self-check", "always", "--trainer", trainer)
        self.assert_refused(worker, log, "this machine failed its check: rank [01]: GPU 1 is on fire")

    def test_a_worker_that_is_stopped_meanwhile(self):
        worker, log = self.start_worker("--self-check", "always", "--trainer", self.script("exec sleep 600"), slots=1)
        processes.wait_until(lambda: processes.processes_with("REGROUP_WORKER=checked@"), "the check", 30)
        worker.send_signal(signal.SIGTERM)
        self.assert_refused(worker, log, "stopped during the check", status=0)

    def test_the_trainer_alone(self):
        done = subprocess.run([places.PROGRAMS / "regroup-trainer", "--check", "--device", "cpu"], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual((found["ranks"], found["summed_bytes"], found["bytes_per_second"]), (1, 64 << 20, 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
