#!/usr/bin/env python3
"""Writes README's table of model families from what `regroup families` prints.

    python3 tests/integration/families_table.py [--write] [--programs build/release/bin]
"""

import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- regroup families -->\n", "<!-- end -->\n"


def rows(programs):
    done = subprocess.run([programs / "regroup", "families", "--json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def table(families):
    lines = ["| models | `model_type` | layout of the result |", "|---|---|---|"]
    for family in families:
        types = ", ".join(f"`{name}`" for name in family["model_types"])
        lines.append(f"| {family['models']} | {types} | {family['layout']} |")
    return "\n".join(lines) + "\n"


def split_page():
    """Returns the page before the table, the table, and the page after it."""
    before, rest = PAGE.read_text().split(BEGIN)
    shown, after = rest.split(END)
    return before + BEGIN, shown, END + after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="change README.md")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "build/release/bin")
    arguments = parser.parse_args()
    made = table(rows(arguments.programs))
    before, _, after = split_page()
    if arguments.write:
        PAGE.write_text(before + made + after)
    print(made, end="")


if __name__ == "__main__":
    main()
