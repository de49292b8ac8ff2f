#!/usr/bin/env python3
"""Unpacks deploy/carry.sh's archive elsewhere: the programs find all dependencies in it, libtorch and Open MPI, and
run."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = pathlib.Path(torch.__file__).parent.parent
# Libraries that every system has, and Open MPI with those that it needs.
OF_THE_SYSTEM = re.compile(r"(lib(c|m|dl|rt|util|pthread|resolv|gcc_s|stdc\+\+|mpi|hwloc|udev)\.so|lib(open-|event))")


class CarryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="regroup-test-")
        cls.addClassCleanup(cls.temporary.cleanup)
        folder = pathlib.Path(cls.temporary.name)
        subprocess.run([ROOT / "deploy/carry.sh", folder / "carried.tar.gz"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["tar", "-xzf", folder / "carried.tar.gz", "-C", folder], check=True)
        cls.carried = folder / "regroup"
        libraries = [PACKAGES / "torch/lib", *PACKAGES.glob("nvidia/*/lib")]
        cls.environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(map(str, libraries))}

    def test_libraries_are_found_in_it_or_where_it_says(self):
        for program in (self.carried / "build/release/bin").iterdir():
            listed = subprocess.run(["ldd", program], env=self.environment, capture_output=True, text=True, check=True).stdout
            self.assertNotIn("not found", listed)
            for name, path in re.findall(r"(\S+) => (\S+)", listed):
                inside = path.startswith((str(self.carried), str(PACKAGES)))
                self.assertTrue(inside or OF_THE_SYSTEM.match(name), f"{program.name} takes {name} from {path}")

    def test_programs_run(self):
        said = subprocess.run([self.carried / "build/release/bin/regroup", "inspect", self.carried / "deploy/demo/model"],
                              env=self.environment, capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertIn("llama", said.stdout)

    def test_the_tests_for_gpus_say_that_there_is_none(self):
        if pathlib.Path("/dev/nvidiactl").exists():
            self.skipTest("there may be one")
        said = subprocess.run([self.carried / "tests/gpu/run.sh"], capture_output=True, text=True,
                              env={**self.environment, "REGROUP_PYTHON": sys.executable})
        self.assertEqual((said.returncode, said.stderr.strip()), (77, "SKIPPED: there is no GPU"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
