#!/usr/bin/env python3
"""The wheel of deploy/wheel.sh: its size, tag, libraries and licences; installed without a network, its command drives a real
coordinator where the system's own copies of the libraries cannot be loaded."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

from harness import job_file, places
from harness.program_test import ProgramTest

OFFLINE = {**os.environ, "PIP_NO_INDEX": "1"}
OFFLINE.pop("PYTHONPATH", None)
# Covers each library of the system that the wheel has too by an empty file, which no program can load.
COVERED = 'set -e; for file in $HIDDEN; do mount --bind /dev/null "$file"; done; exec "$@"'


def run(*command, **settings):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, timeout=240,
                          **{"env": OFFLINE, **settings})
    if done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class CliWheel(ProgramTest):
    @classmethod
    def setUpClass(cls):
        run(places.REPOSITORY / "deploy/wheel.sh", "--no-build")
        [cls.wheel] = (places.REPOSITORY / "build/release/wheel").glob("*.whl")
        cls.place = pathlib.Path(tempfile.mkdtemp(prefix="regroup-wheel-"))
        cls.addClassCleanup(shutil.rmtree, cls.place)
        run(sys.executable, "-m", "venv", cls.place / "venv")
        cls.before = cls.files()
        cls.pip("install", "--quiet", cls.wheel)
        [cls.libraries] = cls.place.glob("venv/lib/python*/site-packages/regroup_cli.libs")

    @classmethod
    def pip(cls, *arguments):
        return run(cls.place / "venv/bin/python", "-m", "pip", *arguments)

    @classmethod
    def files(cls):
        return {path for path in cls.place.rglob("*") if not path.is_dir() and "__pycache__" not in path.parts}

    def command(self, *arguments, status=0):
        """Runs the installed command without the system's own copies of the wheel's libraries."""
        stems = {re.sub(r"-[0-9a-f]{8}[.]so.*", "", path.name) for path in self.libraries.iterdir()}
        hidden = [str(path) for stem in stems for path in pathlib.Path("/usr/lib/x86_64-linux-gnu").glob(f"{stem}.so*")
                  if not path.is_symlink()]
        self.assertGreater(len(hidden), 20)
        of_user = [] if os.geteuid() == 0 else ["--map-root-user"]
        done = subprocess.run(["unshare", *of_user, "--mount", "bash", "-c", COVERED, "bash",
                               str(self.place / "venv/bin/regroup"), *map(str, arguments)], text=True, capture_output=True,
                              env={**OFFLINE, "HIDDEN": " ".join(hidden)}, timeout=60, cwd=self.folder)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_is_small_and_runs_with_the_glibc_of_debian_12(self):
        self.assertLess(self.wheel.stat().st_size, 30_000_000)
        minor = re.fullmatch(r"regroup_cli-[\d.]+-py3-none-manylinux_2_(\d+)_x86_64[.]whl", self.wheel.name)[1]
        self.assertLessEqual(int(minor), 36)
        shown = run(sys.executable, "-m", "auditwheel", "show", self.wheel)
        self.assertIn(f'consistent\nwith the following platform tag: "manylinux_2_{minor}_x86_64"', shown)

    def test_has_the_licence_of_every_library(self):
        names = {pathlib.Path(name).name for name in zipfile.ZipFile(self.wheel).namelist() if "/licenses/" in name}
        for library in self.libraries.iterdir():
            stem = re.sub(r"-[0-9a-f]{8}[.]so.*", "", library.name)
            found = run("dpkg-query", "--search", f"/usr/lib/x86_64-linux-gnu/{stem}.so.*")
            packages = {line.partition(":")[0].replace("+", "p") for line in found.splitlines()}
            self.assertTrue(packages & names, f"{library.name}: {packages}")
        self.assertIn("LICENSE", names)

    def test_drives_a_coordinator_with_its_own_libraries(self):
        cluster = self.start_cluster(workers=0)
        self.write_job(job_file.small_job("results/model"))
        self.assertEqual(self.command("--version"), run(places.PROGRAMS / "regroup", "--version"))
        at = ("--coordinator", cluster.address)
        self.command(*at, "submit", "job.yaml")
        [job] = cluster.json_of("list")["jobs"]
        name = job["name"].removeprefix("jobs/")
        self.assertIn(name, self.command(*at, "get", name))
        self.command(*at, "cancel", name)
        self.command(*at, "watch", name, status=1)
        self.assertEqual(cluster.job(name)["state"], "JOB_STATE_CANCELLED")
        self.assertIn("Debian packages or image, which have all programs", self.command("inspect", places.MODEL, status=3))

    def test_uninstalling_leaves_no_file(self):
        self.pip("uninstall", "--yes", "--quiet", "regroup-cli")
        self.addCleanup(self.pip, "install", "--quiet", self.wheel)
        self.assertEqual(self.files(), self.before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
