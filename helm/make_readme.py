#!/usr/bin/env python3
"""Writes the table of values in helm/regroup/README.md from the comments in values.yaml: helm/make_readme.py [--check]"""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent / "regroup"
BEGIN, END = "<!-- values: made by helm/make_readme.py -->", "<!-- end of values -->"
KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):")
COMMENT = re.compile(r"^ *# -- (.*)$")


def documented_keys(text):
    """Returns (path, sentence) of every key below a comment that starts with "--"."""
    path, sentence, found = [], None, []
    for line in text.splitlines():
        comment, key = COMMENT.match(line), KEY.match(line)
        if comment:
            sentence = comment[1]
        elif key:
            path[len(key[1]) // 2:] = [key[2]]
            if sentence:
                found.append((".".join(path), sentence))
            sentence = None
    return found


def leaves(values, prefix=""):
    """Yields the paths of all values that have no keys of their own by default."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in ("labels", "resources"):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def value_at(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def table():
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    documented = documented_keys(text)
    missing = set(leaves(values)) - {path for path, _ in documented}
    if missing:
        sys.exit(f"values.yaml: no comment that starts with '--' above {sorted(missing)}")
    rows = [f"| `{path}` | `{json.dumps(value_at(values, path))}` | {sentence} |" for path, sentence in documented]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def main():
    readme = CHART / "README.md"
    old = readme.read_text()
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        sys.exit(None if new == old else "helm/regroup/README.md does not match values.yaml; run helm/make_readme.py")
    readme.write_text(new)


if __name__ == "__main__":
    main()
