#!/usr/bin/env python3
"""Builds wheel and source distribution without a network, and installs the wheel for the other tests of this folder."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile

from harness import places

INSTALLED = pathlib.Path(os.environ["REGROUP_PYTHON_CLIENT"])
# The address of nothing, which a program that looks for a network meets at once.
OFFLINE = {**os.environ, "PIP_NO_INDEX": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
OFFLINE.pop("PYTHONPATH", None)


def run(*command, cwd=None):
    """Runs a command to its end and returns its output."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=OFFLINE, text=True, capture_output=True, timeout=240)
    if done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class PythonBuild(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-python-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        # setuptools leaves files beside the sources.
        cls.repository = repository = cls.folder / "repository"
        for name in ("python", "proto"):
            shutil.copytree(places.REPOSITORY / name, repository / name)
        shutil.copy(places.REPOSITORY / "LICENSE", repository)
        # Without a choice the wheel is built from the source distribution, which must hold everything for that.
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", cls.folder / "dist", repository / "python")
        [cls.wheel] = cls.folder.glob("dist/*.whl")
        [cls.source] = cls.folder.glob("dist/*.tar.gz")

    def test_follows_the_page(self):
        commands = re.findall(r"^    ((?:pip|python) .*?)(?:  +#.*)?$", (self.repository / "python/README.md").read_text(), re.M)
        self.assertEqual(len(commands), 3)
        for command in commands:
            words = shlex.split(command)
            # The dependencies and the generator of stubs come from the environment of this test.
            offline = ["--no-build-isolation", "--no-deps", "--dry-run"] if words[0] == "pip" else ["--no-isolation"]
            program = [sys.executable, "-m", "pip"] if words[0] == "pip" else [sys.executable]
            run(*program, *words[1:], *offline, cwd=self.repository)
        self.assertEqual(len(list(self.repository.glob("python/dist/regroup-*"))), 2)

    def test_installs_the_wheel(self):
        shutil.rmtree(INSTALLED, ignore_errors=True)
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", INSTALLED, self.wheel)
        self.assertTrue((INSTALLED / "regroup/v1/job_service_pb2_grpc.py").exists())

    def test_holds_typed_stubs_the_licence_and_no_test(self):
        names = zipfile.ZipFile(self.wheel).namelist()
        for name in ("regroup/py.typed", "regroup/v1/job_pb2.pyi"):
            self.assertIn(name, names)
        self.assertTrue(any(name.endswith("/LICENSE") for name in names))
        self.assertFalse([name for name in names if "test" in name])
        sources = tarfile.open(self.source).getnames()
        self.assertTrue(any(name.endswith("/proto/regroup/v1/job_service.proto") for name in sources))

    def test_imports_in_an_environment_of_its_own(self):
        environment = self.folder / "environment"
        run(sys.executable, "-m", "venv", environment)
        python = environment / "bin/python"
        [packages] = environment.glob("lib/python*/site-packages")
        # What the wheel depends on comes from the environment of this test, since there is no network.
        own = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "dependencies.pth").write_text(own + "\n")
        run(python, "-m", "pip", "install", "--quiet", self.wheel)
        shown = run(python, "-W", "error", "-c",
                    "import regroup, sys; print(regroup.__file__, regroup.Client('127.0.0.1:1'), 'mlflow' in sys.modules)",
                    cwd=self.folder)
        self.assertEqual(shown, f"{packages}/regroup/__init__.py <regroup.Client of 127.0.0.1:1> False\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
