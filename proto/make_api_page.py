#!/usr/bin/env python3
"""Writes proto/API.md from the files of proto/regroup/v1: every service, call, message, field and word with its comment.

usage: proto/make_api_page.py [--check]

--check writes nothing and fails if the page does not match the files. A line that cannot be parsed is an error, so that
nothing is silently left out of the page.
"""

import dataclasses
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
PAGE = FOLDER / "API.md"
# The proto files in reading order.
FILES = ("job", "job_service", "plan", "cluster_service", "error_reason", "worker_service", "trainer_service", "gang_service")
HEAD = """# API

Made from `regroup/v1/*.proto` by `proto/make_api_page.py`; change the comments there. How to call it, what may change
and what never does: [README.md](README.md).

"""

TYPE = r"(?P<type>map<\w+, *[\w.]+>|[\w.]+)"
FIELD = re.compile(rf"(?P<label>optional |repeated )?{TYPE} (?P<name>\w+) = (?P<number>\d+);")
WORD = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*) = (?P<number>\d+);")
CALL = re.compile(r"rpc (?P<name>\w+)\((?P<asked>(?:stream )?[\w.]+)\) returns \((?P<answered>(?:stream )?[\w.]+)\);")
BLOCK = re.compile(r"(?P<kind>service|message|enum|oneof) (?P<name>\w+) \{(?P<empty>\})?")
PREAMBLE = re.compile(r'(syntax = "proto3"|package regroup\.v1|import "[\w/.]+"|option \w+ = \w+);')


@dataclasses.dataclass
class Row:
    """A field, a word of an enum, or a call."""
    comment: str
    parts: dict
    oneof: str = ""


@dataclasses.dataclass
class Block:
    kind: str
    name: str
    comment: str
    rows: list = dataclasses.field(default_factory=list)


class Reader:
    """Reads one file, line by line."""

    def __init__(self, path):
        self.path = path
        self.introduction = ""
        self.blocks = []
        self.open = []
        self.comment = []

    def read(self):
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            if not self.take(line.strip()):
                raise SystemExit(f"{self.path}:{number}: not understood: {line.strip()}")
        if self.open:
            raise SystemExit(f"{self.path}: a block is not closed")
        return self

    def take(self, line):
        if line.startswith("//"):
            self.comment.append(line[2:].strip())
            return True
        comment = self.take_comment()
        if not line:
            return not comment or self.stray(comment)
        if PREAMBLE.fullmatch(line):
            self.introduction = self.introduction or comment
            return not self.open
        if line == "}":
            return bool(self.open) and bool(self.open.pop())
        if opened := BLOCK.fullmatch(line):
            return self.begin(opened, comment)
        return bool(self.open) and self.add_row(line, comment)

    def stray(self, comment):
        """Only the comment at the head of a file stands alone."""
        raise SystemExit(f"{self.path}: a comment that belongs to nothing: {comment}")

    def take_comment(self):
        paragraphs = "\n".join(self.comment).split("\n\n")
        self.comment = []
        return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).strip()

    def begin(self, opened, comment):
        outer = ".".join(block.name for block in self.open)
        block = Block(opened["kind"], f"{outer}.{opened['name']}" if outer else opened["name"], comment)
        if opened["kind"] == "oneof":
            if comment:
                self.stray(comment)
            block.rows, block.name = self.open[-1].rows, opened["name"]
        else:
            self.blocks.append(block)
        if not opened["empty"]:
            self.open.append(block)
        return True

    def add_row(self, line, comment):
        block = self.open[-1]
        pattern = {"service": CALL, "enum": WORD}.get(block.kind, FIELD)
        row = pattern.fullmatch(line)
        if row:
            block.rows.append(Row(comment, row.groupdict(), block.name if block.kind == "oneof" else ""))
        return bool(row)


def anchor(name):
    return re.sub(r"[^\w -]", "", name.lower())


class Page:
    def __init__(self, files):
        self.files = files
        self.names = {block.name for file in files for block in file.blocks}

    def type_text(self, name, within):
        """The type's name, with a link to where the page describes it."""
        if entry := re.fullmatch(r"map<(\w+), *([\w.]+)>", name):
            return f"map of {entry[1]} to {self.type_text(entry[2], within)}"
        if name.startswith("stream "):
            return f"stream of {self.type_text(name[7:], within)}"
        for candidate in (f"{within}.{name}", name):
            if candidate in self.names:
                return f"[{name}](#{anchor(candidate)})"
        return name

    def cells(self, block, row):
        parts = row.parts
        if block.kind == "enum":
            return parts["name"], parts["number"]
        if block.kind == "service":
            return parts["name"], self.type_text(parts["asked"], ""), self.type_text(parts["answered"], "")
        kind = self.type_text(parts["type"], block.name)
        label = {"optional ": "optional ", "repeated ": "list of "}.get(parts["label"], "")
        of_one = f", one of `{row.oneof}`" if row.oneof else ""
        return f"`{parts['name']}`", parts["number"], f"{label}{kind}{of_one}"

    def table(self, block):
        heads = {"enum": ("word", "number"), "service": ("call", "request", "answer")}.get(
            block.kind, ("field", "number", "type"))
        lines = [(*heads, "what it is"), ("---",) * (len(heads) + 1)]
        lines += [(*self.cells(block, row), row.comment.replace("\n\n", "<br>").replace("|", "\\|")) for row in block.rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def text(self):
        out = [HEAD, "".join(f"- [{file.path.name}](#{anchor(file.path.name)}): "
                             f"{', '.join(self.type_text(block.name, '') for block in file.blocks)}\n"
                             for file in self.files)]
        for file in self.files:
            out.append(f"\n## {file.path.name}\n\n{file.introduction}\n")
            for block in file.blocks:
                out.append(f"\n### {block.name}\n")
                if block.comment:
                    out.append(f"\n{block.comment}\n")
                out.append(f"\n{self.table(block)}" if block.rows else "\nHas no fields.\n")
        return "".join(out)


def main():
    there = {path.stem for path in (FOLDER / "regroup/v1").glob("*.proto")}
    if there != set(FILES):
        raise SystemExit(f"FILES does not name {', '.join(sorted(there ^ set(FILES)))}")
    text = Page([Reader(FOLDER / f"regroup/v1/{name}.proto").read() for name in FILES]).text()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{PAGE} is not what the proto files say: run proto/make_api_page.py")


if __name__ == "__main__":
    main()
