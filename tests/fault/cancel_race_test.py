#!/usr/bin/env python3
"""A cancellation that meets the end of its job: one of the two wins, and the user, the worker and the job agree on which.

REGROUP_TEST_RACES rounds (default 100) with delays from REGROUP_TEST_SEED.
"""

import os
import random
import sys
import unittest

from harness import loaded
from harness.program_test import ProgramTest

RACES = int(os.environ.get("REGROUP_TEST_RACES", "100"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 31)))


class CancelRace(ProgramTest):
    def test_has_one_winner(self):
        coordinator = loaded.LoadedCoordinator(self.folder)
        self.addCleanup(coordinator.stop)
        coordinator.start()
        said = coordinator.load("race", "--rounds", RACES, "--seed", SEED, patience_s=3000)
        print(f"REGROUP_TEST_SEED={SEED}: {said}", file=sys.stderr)
        self.assertEqual(said["violations"], [])
        self.assertEqual(said["succeeded"] + said["cancelled"], RACES)
        for winner in ("succeeded", "cancelled"):
            self.assertGreater(said[winner], 0, f"no job {winner}: the two did not race")
        coordinator.stop()
        self.assert_nothing_left()


if __name__ == "__main__":
    loaded.skip_without_load_programs()
    unittest.main(verbosity=2)
