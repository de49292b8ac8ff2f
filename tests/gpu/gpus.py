"""Counts the GPUs of this machine."""

import os
import pathlib
import subprocess
import sys

SKIPPED = 77


def count():
    """Returns the number of GPUs, or of those that tests/fake_gpu pretends; 0 without the driver's devices or its program."""
    if "REGROUP_TEST_PRETENDED_GPUS" in os.environ:
        return int(os.environ["REGROUP_TEST_PRETENDED_GPUS"])
    if not pathlib.Path("/dev/nvidiactl").exists():
        return 0
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return len(listed.stdout.splitlines())


def skip_without():
    if count() == 0:
        print("SKIPPED: there is no GPU", file=sys.stderr)
        sys.exit(SKIPPED)
