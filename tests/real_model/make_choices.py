#!/usr/bin/env python3
"""Writes multiple-choice questions from the held-out text: which words go on with it, and which come from another page.

    build/venv/bin/python tests/real_model/make_choices.py TEXT [--items 100]

TEXT is make_text.py's folder and gets continuations.jsonl.
"""

import argparse
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

from multiple_choice_sets import write_generated_set  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--items", type=int, default=100)
    arguments = parser.parse_args()
    write_generated_set(arguments.text / "continuations.jsonl", arguments.text / "valid.jsonl", arguments.items)


if __name__ == "__main__":
    main()
