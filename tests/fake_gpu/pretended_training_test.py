#!/usr/bin/env python3
"""Runs tests/gpu/gpu_training_test.py on pretended GPUs, so that it is known to work before there is a real one. At night only:
fake_gpu_conversions_test.py has the same trainings."""

import os
import pathlib
import sys
import unittest

import pretended  # noqa: F401

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "gpu"))

from gpu_training_test import GpuTrainingTest  # noqa: E402, F401

if __name__ == "__main__":
    if "REGROUP_NIGHTLY" not in os.environ:
        print("SKIPPED: set REGROUP_NIGHTLY=1", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
