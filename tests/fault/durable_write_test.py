#!/usr/bin/env python3
"""Kills the coordinator with kill -9 right before and right after durable writes of its store, while jobs pass through
every state: after a restart the same call is repeated, and everything continues as if nothing had happened.

By default the test takes a few of the writes that fsync, spread over all; REGROUP_TEST_WRITES=all takes every one of
them, and REGROUP_TEST_WRITES=each also every other write of the file. A preloaded library ends the coordinator; the
program itself is the one that is shipped.
"""

import collections
import os
import random
import sys
import unittest

from harness import loaded, processes
from harness.program_test import ProgramTest

WRITES = os.environ.get("REGROUP_TEST_WRITES", "some")
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 31)))
SAMPLES = 6
STATES = ("QUEUED", "RUNNING", "RECOVERING", "PAUSING", "PAUSED", "CANCELLING", "CANCELLED", "SUCCEEDED", "FAILED")


class DurableWrite(ProgramTest):
    def tell_story(self, write=0, when="before"):
        """Runs the story on a new store with a kill at that write. Returns its result, and the step of the kill, if
        any."""
        folder = self.folder / f"{when}-{write}"
        folder.mkdir()
        coordinator = loaded.LoadedCoordinator(folder, keys=self.folder / "keys", lease_s=2)
        step, killed_at = folder / "step", ""
        faults = {"REGROUP_FAULT_AT": write, "REGROUP_FAULT_WHEN": when,
                  "REGROUP_FAULT_WRITES": "write" if WRITES == "each" else "sync"}
        coordinator.start(environment=loaded.faulty_disk(**faults))
        if coordinator.process.poll() is not None:
            killed_at = "before it serves"
            coordinator.start()
        story = coordinator.start_load("story", "--step-file", step)
        while story.poll() is None:
            if coordinator.process.poll() is not None:
                killed_at = step.read_text()
                coordinator.start()
            processes.wait_until(lambda: story.poll() is not None or coordinator.process.poll() is not None, "the story", 120)
        said = loaded.result_of(story)
        coordinator.stop()
        return said, killed_at

    def assert_kept(self, write, when):
        """Returns the step at which the coordinator was killed; empty if the story has fewer writes."""
        said, step = self.tell_story(write, when)
        where = f"{when} durable write {write}, at the step {step!r}"
        self.assertEqual(said["violations"], [], where)
        self.assertEqual((said["lost"], said["lost_results"], said["applied_twice"]), (0, 0, 0), where)
        self.assertEqual(said["ends"], {"succeeded": 1, "cancelled": 3}, where)
        return step

    def test_some_of_them(self):
        if WRITES != "some":
            self.skipTest("all are taken")
        last = next(write for write in (64, 48, 32, 24, 16) if self.assert_kept(write, "before"))
        print(f"REGROUP_TEST_SEED={SEED}: some of the first {last} durable writes", file=sys.stderr)
        for write in sorted(random.Random(SEED).sample(range(1, last), SAMPLES)):
            self.assertTrue(self.assert_kept(write, random.Random(SEED + write).choice(("before", "after"))))

    def test_all_of_them(self):
        if WRITES == "some":
            self.skipTest("set REGROUP_TEST_WRITES=all")
        steps = collections.Counter()
        write, step = 0, "first"
        while step:
            write += 1
            for when in ("before", "after"):
                step = self.assert_kept(write, when)
                steps[step] += 1
        print(f"{write - 1} durable writes, each before and after; kills by step:", file=sys.stderr)
        for step, kills in sorted(steps.items()):
            print(f"  {kills:4} {step or '(none came)'}", file=sys.stderr)
        hit = {step.partition(":")[0] for step in steps}
        self.assertLessEqual(set(STATES), hit, "a state was left out")


if __name__ == "__main__":
    loaded.skip_without_load_programs()
    unittest.main(verbosity=2)
