#!/usr/bin/env python3
"""Runs a coordinator on a disk whose fsync is slow or fails: acknowledged changes stay, others are rejected, and calls
that do not need the disk are unaffected."""

import sys
import time
import unittest

from harness import loaded
from harness.program_test import ProgramTest


class SlowDisk(ProgramTest):
    def setUp(self):
        super().setUp()
        self.control = self.folder / "control"
        self.control.write_text("ok")
        self.coordinator = loaded.LoadedCoordinator(self.folder)
        self.addCleanup(self.coordinator.stop)
        self.disk = loaded.faulty_disk(REGROUP_FAULT_CONTROL=self.control)
        self.coordinator.start(environment=self.disk)

    def under_load(self, faults):
        """Takes the disk through these faults: (what syncs do, for how many seconds), or a kill of the coordinator.
        Returns what users and workers report afterwards."""
        end = self.folder / "end"
        load = self.coordinator.start_load("faults", "--until", end, "--workers", 3, "--users", 2)
        for fault in faults:
            if fault == "kill":
                self.coordinator.kill()
                # The coordinator cannot start while its disk fails.
                self.control.write_text("ok")
                self.coordinator.start(environment=self.disk)
            else:
                self.control.write_text(fault[0])
                time.sleep(fault[1])
        self.control.write_text("ok")
        end.touch()
        said = loaded.result_of(load)
        print(said, file=sys.stderr)
        self.assertEqual(said["violations"], [])
        self.assertEqual((said["lost"], said["lost_results"], said["applied_twice"]), (0, 0, 0))
        self.assertGreater(said["acknowledged"], 0)
        return said

    def test_a_slow_one_only_delays_answers(self):
        self.under_load([("slow 300", 4), ("ok", 1), ("slow 50", 2)])

    def test_a_failing_one_refuses_and_recovers(self):
        self.under_load([("ok", 1), ("fail", 1.5), ("ok", 1), ("fail", 0.5), ("slow 100", 1)])
        self.assertIn("cannot store changes", (self.folder / "coordinator.log").read_text())

    def test_a_kill_while_it_fails_loses_nothing(self):
        self.under_load([("ok", 1), ("fail", 1), "kill", ("ok", 1), ("fail", 0.5), "kill"])


if __name__ == "__main__":
    loaded.skip_without_load_programs()
    unittest.main(verbosity=2)
