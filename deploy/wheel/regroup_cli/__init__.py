"""The program `regroup` and the command that starts it."""

import os
import pathlib
import sys


def main() -> None:
    """Replaces this process by the program, with the same arguments."""
    program = pathlib.Path(__file__).resolve().with_name("regroup")
    os.execv(program, ["regroup", *sys.argv[1:]])
