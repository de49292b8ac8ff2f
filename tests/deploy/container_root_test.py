#!/usr/bin/env python3
"""Creates the image's root file system with Debian's own tools and deploy/container/install_root.sh: in it an
unprivileged user converts a model with a gang of two ranks, on a read-only root."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import job_file, places

CONTAINER = places.REPOSITORY / "deploy/container"
USER = 10001
# Runs in its own mount and process namespace, as a container does, so that nothing outlives the test.
INSIDE = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount --bind "$WORK" "$ROOT/work"
mount -o remount,ro,bind "$ROOT"
exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp /usr/sbin/chroot --userspec={user}:{user} "$ROOT" "$@"
"""


def runtime_packages():
    lines = (CONTAINER / "packages-runtime.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class ContainerRootTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-root-"))
        cls.folder.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.root, cls.work = cls.folder / "root", cls.folder / "work"
        cls.work.mkdir()
        os.chown(cls.work, USER, USER)
        cls.make_root()

    @classmethod
    def make_root(cls):
        # The packages come from this machine's package sources.
        done = subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={','.join(runtime_packages())}", "bookworm",
                               cls.root, *sources()], text=True, capture_output=True)
        if done.returncode != 0:
            raise AssertionError(done.stderr[-3000:])
        subprocess.run([CONTAINER / "install_root.sh", places.PROGRAMS.parent, cls.root], check=True)

    def inside(self, *command, **settings):
        environment = {**os.environ, "ROOT": str(self.root), "WORK": str(self.work)}
        return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c",
                               INSIDE.format(user=USER), "bash", *map(str, command)], env=environment, text=True,
                              capture_output=True, timeout=600, **settings)

    def test_every_program_starts_and_finds_its_libraries(self):
        for program in ("regroup", "regroup-coordinator", "regroup-worker", "regroup-trainer"):
            done = self.inside(program, "--help")
            self.assertEqual(done.returncode, 0, done.stderr)
        done = self.inside("ldd", "/opt/regroup/bin/regroup-trainer")
        self.assertNotIn("not found", done.stdout)
        outside = [line for line in done.stdout.splitlines() if "=>" in line and
                   not re.search(r"=> (/lib|/usr/lib|/opt/regroup/bin/\.\./lib|/opt/regroup/lib)", line)]
        self.assertEqual(outside, [])

    def test_a_user_without_rights_converts_the_model(self):
        demo = "/opt/regroup/share/demo"
        job = job_file.small_job("/work/model", source={"checkpoint": f"{demo}/model"},
                                 calibration={"data": f"{demo}/train.jsonl"})
        (self.work / "job.yaml").write_text(json.dumps(job))
        done = self.inside("regroup", "run", "/work/job.yaml", "--work-dir", "/work/regroup", "--workers", "1",
                           "--slots", "2")
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        config = json.loads((self.work / "model/config.json").read_text())
        self.assertEqual(config["num_key_value_heads"], 2)
        self.assertEqual((self.work / "model").stat().st_uid, USER)

    def test_its_root_cannot_be_written_and_nobody_there_is_root(self):
        self.assertIn("Read-only", self.inside("touch", "/var/tmp/x").stderr)
        self.assertEqual(self.inside("id", "-u", "-n").stdout.strip(), "regroup")

    def test_it_holds_no_compiler_and_says_how_large_it_is(self):
        for program in ("gcc", "g++", "cmake", "python3", "pip"):
            self.assertFalse((self.root / "usr/bin" / program).exists(), program)
        size = subprocess.run(["du", "-sm", self.root], capture_output=True, text=True).stdout.split()[0]
        libraries = subprocess.run(["du", "-sm", self.root / "opt/regroup/lib"], capture_output=True,
                                   text=True).stdout.split()[0]
        print(f"root file system: {size} MB, of which {libraries} MB libtorch")


def sources():
    folder = pathlib.Path("/etc/apt")
    files = [folder / "sources.list", *folder.glob("sources.list.d/*.list"), *folder.glob("sources.list.d/*.sources")]
    return [path for path in files if path.is_file()]


if __name__ == "__main__":
    if os.environ.get("REGROUP_NIGHTLY") != "1":
        print("skipped: downloads packages; tests/nightly.sh or REGROUP_NIGHTLY=1 runs it")
        sys.exit(77)
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        print("skipped: needs root and mmdebstrap")
        sys.exit(77)
    unittest.main(verbosity=2)
