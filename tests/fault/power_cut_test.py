#!/usr/bin/env python3
"""Cuts the power of the store's disk: an ext4 volume is shut down under a loaded coordinator, so that everything that
was not durable is lost, then mounted again. No acknowledged job or result may be lost.

The coordinator is paused while its volume is shut down. ext4 answers an fdatasync that is under way at that moment with
success, although what it should have made durable is gone (seen with Linux 6.18 in 14 of 150 cuts under a program that only
appends and syncs, in none of 150 with the pause); a real cut gives such a call no answer at all.

It makes REGROUP_TEST_CUTS cuts (default 3) at moments from REGROUP_TEST_SEED. The test needs root, loop devices and
mkfs.ext4 and is skipped without them.
"""

import fcntl
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from harness import loaded, processes
from harness.program_test import ProgramTest

SKIPPED = 77
CUTS = int(os.environ.get("REGROUP_TEST_CUTS", "3"))
SEED = int(os.environ.get("REGROUP_TEST_SEED", random.randrange(1 << 31)))
_INSIDE = "REGROUP_TEST_INSIDE_NAMESPACE"
# From linux/ext4.h: no page that waits in memory and no entry of the journal that was not committed reaches the disk.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING_THE_LOG = 2


class Volume:
    """An ext4 file system in a file."""

    def __init__(self, folder, megabytes=256):
        self.image, self.path = folder / "disk", folder / "volume"
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.path.mkdir()

    def mount(self):
        """Mounts the volume, which replays the journal, as after a power cut."""
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def cut(self):
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _EXT4_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_LOG))
        finally:
            os.close(folder)

    def unmount(self):
        subprocess.run(["umount", self.path], check=True)


class PowerCut(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"REGROUP_TEST_SEED={SEED} REGROUP_TEST_CUTS={CUTS}", file=sys.stderr)
        self.moments = random.Random(SEED)
        self.volume = Volume(self.folder)
        self.volume.mount()
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.volume.path], check=False, stderr=subprocess.DEVNULL)
        self.coordinator = loaded.LoadedCoordinator(self.folder, state=self.volume.path / "state")
        self.addCleanup(self.coordinator.stop)
        self.coordinator.start()

    def test_loses_nothing_that_was_acknowledged(self):
        end = self.folder / "end"
        load = self.coordinator.start_load("faults", "--until", end, "--seed", SEED)
        for _ in range(CUTS):
            self.coordinator.wait_for_submission()
            time.sleep(self.moments.uniform(0, 0.5))
            self.cut_power()
        end.touch()
        said = loaded.result_of(load)
        print(f"{CUTS} power cuts: {said}", file=sys.stderr)
        self.assertEqual(said["violations"], [])
        self.assertEqual((said["lost"], said["lost_results"], said["applied_twice"]), (0, 0, 0))
        self.assertGreater(said["acknowledged"], CUTS / 2, "the load was too small to mean anything")
        self.coordinator.stop()
        self.volume.unmount()
        self.assert_nothing_left()

    def cut_power(self):
        """Shuts the disk down first, so that no later answer of the coordinator can depend on it."""
        processes.pause(self.coordinator.process)
        self.volume.cut()
        processes.resume(self.coordinator.process)
        time.sleep(self.moments.choice((0, 0.05)))
        self.coordinator.kill()
        self.volume.unmount()
        self.volume.mount()
        self.coordinator.start()

    def test_what_was_not_synced_is_really_gone(self):
        file = self.volume.path / "unsynced"
        file.write_text("not made durable")
        self.volume.cut()
        self.coordinator.kill()
        self.volume.unmount()
        self.volume.mount()
        self.assertFalse(file.exists() and file.read_text(), "the cut is none: it loses nothing")


def why_not():
    """Returns why this machine cannot run the test; empty if it can."""
    if os.geteuid() != 0:
        return "mounting a volume needs root"
    with tempfile.TemporaryDirectory(prefix="regroup-test-") as folder:
        script = (f"cd {folder} && truncate -s 16M disk && mkfs.ext4 -q disk && mkdir volume && mount -o loop disk volume && "
                  "umount volume")
        tried = subprocess.run(["unshare", "--mount", "sh", "-c", script], stderr=subprocess.PIPE, text=True)
    return "" if tried.returncode == 0 else f"no loop device can be mounted: {tried.stderr.strip()}"


def main():
    loaded.skip_without_load_programs()
    if _INSIDE not in os.environ:
        reason = why_not()
        if reason:
            print(f"SKIPPED: {reason}", file=sys.stderr)
            sys.exit(SKIPPED)
        os.environ[_INSIDE] = "yes"
        # Mounts vanish with the namespace, however the test ends.
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
