#!/usr/bin/env python3
"""Writes the C source of a pretended library: for every function that the given libraries want from it and that no given
source defines, one that says its name and fails.

usage: make_stubs.py cuda|nccl OUTPUT --libraries FILE... [--sources FILE...]
"""

import argparse
import pathlib
import re
import subprocess

# Names of a library's functions, and the result that says "not supported".
FUNCTIONS = {"cuda": (r"(?:__)?cuda[A-Z]\w*", 801), "nccl": (r"nccl[A-Z]\w*", 5)}


def wanted(libraries, pattern):
    """Returns the undefined symbols of the libraries that match the pattern."""
    found = set()
    for library in libraries:
        listed = subprocess.run(["nm", "--dynamic", "--undefined-only", library], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            name = line.split()[-1].partition("@")[0]
            if re.fullmatch(pattern, name):
                found.add(name)
    return found


def defined(sources, pattern):
    """Returns the functions that begin a line of the sources, behind their result's type."""
    text = "\n".join(pathlib.Path(source).read_text() for source in sources)
    return set(re.findall(rf"^[\w*][\w* ]*?[ *]({pattern})\(", text, flags=re.MULTILINE))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=FUNCTIONS)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--libraries", nargs="+", required=True)
    parser.add_argument("--sources", nargs="*", default=[])
    arguments = parser.parse_args()
    pattern, unsupported = FUNCTIONS[arguments.kind]
    missing = sorted(wanted(arguments.libraries, pattern) - defined(arguments.sources, pattern))
    lines = ["/* Written by make_stubs.py. */", "#include <stdio.h>"]
    for name in missing:
        lines.append(f'int {name}(void) {{ fputs("{name} is not pretended\\n", stderr); return {unsupported}; }}')
    arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
