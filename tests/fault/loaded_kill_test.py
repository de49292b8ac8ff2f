#!/usr/bin/env python3
"""Kills a loaded coordinator with kill -9, over mutual TLS with tokens: no acknowledged job and no acknowledged result
is lost, and none is applied twice.

It makes REGROUP_TEST_KILLS kills (default 10) at moments from REGROUP_TEST_SEED, while users submit and cancel jobs and
workers report, repeat their reports and report old attempts.
"""

import os
import random
import sys
import time
import unittest

from harness import loaded
from harness.program_test import ProgramTest

KILLS = int(os.environ.get("REGROUP_TEST_KILLS", "10"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 31)))


class LoadedKill(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"REGROUP_TEST_SEED={SEED} REGROUP_TEST_KILLS={KILLS}", file=sys.stderr)
        self.moments = random.Random(SEED)
        self.coordinator = loaded.LoadedCoordinator(self.folder)
        self.addCleanup(self.coordinator.stop)
        self.coordinator.start()

    def test_loses_nothing_and_applies_nothing_twice(self):
        end = self.folder / "end"
        load = self.coordinator.start_load("faults", "--until", end, "--seed", SEED)
        for _ in range(KILLS):
            self.coordinator.wait_for_submission()
            time.sleep(self.moments.uniform(0, 0.5))
            self.coordinator.kill()
            self.coordinator.start()
        end.touch()
        said = loaded.result_of(load)
        print(f"{KILLS} kills: {said}", file=sys.stderr)
        self.assertEqual(said["violations"], [])
        self.assertEqual((said["lost"], said["lost_results"], said["applied_twice"]), (0, 0, 0))
        self.assertGreater(said["acknowledged"], KILLS / 2, "the load was too small to mean anything")
        self.assertGreater(said["results"], 0)
        self.coordinator.stop()
        self.assert_nothing_left()


if __name__ == "__main__":
    loaded.skip_without_load_programs()
    unittest.main(verbosity=2)
