#!/usr/bin/env python3
"""Writes train.jsonl and valid.jsonl ({"text": ...} a line) from the English documentation in Debian packages.

    build/venv/bin/python tests/real_model/make_text.py OUT [--model FOLDER] [--debs build/real_model/debs]

Downloads the packages with `apt-get download` and unpacks them into a temporary folder; nothing is installed and root is
not needed. A document is the prose of one HTML page: paragraphs and list items, without headings, tables and listings. A
paragraph that an earlier page has is left out. Documents are shuffled with a fixed seed, and none is in both files. With
--model the tokens are counted with the folder's tokenizer. OUT/packages.txt records the versions: text made from the
same versions is the same.
"""

import argparse
import html.parser
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

# Package, the folder of its pages, their pattern, and a part of a path that leaves a page out.
SOURCES = (
    ("apache2-doc", "usr/share/doc/apache2-doc/manual/en", "**/*.html", None),
    ("debian-handbook", "usr/share/doc/debian-handbook/html/en-US", "*.html", None),
    ("gimp-help-en", "usr/share/gimp/2.0/help/en", "*.html", None),
    ("linux-doc-6.1", "usr/share/doc/linux-doc-6.1/html", "**/*.html", "translations"),
    ("postgresql-doc-15", "usr/share/doc/postgresql-doc-15/html", "*.html", None),
    ("python3.11-doc", "usr/share/doc/python3.11/html", "**/*.html", None),
    ("sqlite3-doc", "usr/share/doc/sqlite3", "**/*.html", None),
)
SEED = 20
# Characters of a document: shorter ones are dropped, longer ones are cut, so that no change log dominates.
SHORTEST, LONGEST = 500, 60_000
# Characters for validation: 4 to 5 of them make a token.
VALIDATION = 900_000
SKIPPED = {"script", "style", "head", "nav", "pre", "table", "svg"}
BLOCKS = {"p", "div", "li", "ul", "ol", "dt", "dd", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "br", "section",
          "blockquote"}


class PageReader(html.parser.HTMLParser):
    """Collects the text outside of SKIPPED elements, a line for each block."""

    def __init__(self):
        super().__init__()
        self.parts, self.skipping = [], 0

    def handle_starttag(self, tag, attrs):
        self.skipping += tag in SKIPPED
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.skipping -= tag in SKIPPED and self.skipping > 0
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.skipping:
            self.parts.append(re.sub(r"\s+", " ", data))


def is_prose(line):
    return len(line) >= 40 and line.count(" ") >= 7 and line[-1] in ".:?!)"


def paragraphs(page):
    """Returns the paragraphs of prose of an HTML page, without line breaks inside."""
    reader = PageReader()
    reader.feed(page)
    lines = (re.sub(r"\s+", " ", line.replace("¶", "")).strip() for line in "".join(reader.parts).split("\n"))
    return [line for line in lines if is_prose(line)]


def documents(folder, pattern, without, seen):
    """Returns the documents below the folder, by path. Adds their paragraphs to `seen`, and leaves out those in it."""
    found = []
    for file in sorted(folder.glob(pattern)):
        if not file.is_file() or (without and without in file.relative_to(folder).parts):
            continue
        new = [line for line in dict.fromkeys(paragraphs(file.read_text(encoding="utf-8", errors="replace")))
               if line not in seen]
        seen.update(new)
        text = ""
        for line in new:
            if len(text) + len(line) > LONGEST:
                break
            text += line + "\n"
        if len(text) >= SHORTEST:
            found.append(text.rstrip("\n"))
    return found


def package_file(name, debs):
    """Returns the package's .deb in the folder, downloaded unless it is there."""
    if not list(debs.glob(f"{name}_*.deb")):
        # As root, apt drops its rights and needs a folder that its own user may write to.
        subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], cwd=debs, check=True)
    return max(debs.glob(f"{name}_*.deb"))


def split(texts):
    """Returns the texts for training and for validation, both shuffled."""
    random.Random(SEED).shuffle(texts)
    count = characters = 0
    while characters < VALIDATION:
        characters += len(texts[count])
        count += 1
    return texts[count:], texts[:count]


def write(file, texts):
    with file.open("w", encoding="utf-8") as output:
        output.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def token_counter(model):
    """Returns a function that counts the tokens of a list of texts, or one that returns None without a model."""
    if model is None:
        return lambda texts: None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return lambda texts: sum(len(tokenizer.encode(text).ids) for text in texts)


def describe(name, texts, count):
    tokens = count(texts)
    return (f"{name}: {len(texts):,} documents, {sum(map(len, texts)):,} characters"
            + (f", {tokens:,} tokens" if tokens is not None else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="the folder to write to")
    parser.add_argument("--model", type=pathlib.Path, help="a model folder, to count tokens")
    parser.add_argument("--debs", type=pathlib.Path, help="folder that keeps the downloaded packages")
    arguments = parser.parse_args()
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            sys.exit(f"make_text: {program} is missing; this needs Debian 12")
    count = token_counter(arguments.model)
    texts, seen, versions = [], set(), []
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        debs = arguments.debs or pathlib.Path(scratch) / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        for name, pages, pattern, without in SOURCES:
            package, unpacked = package_file(name, debs), pathlib.Path(scratch) / name
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
            found = documents(unpacked / pages, pattern, without, seen)
            shutil.rmtree(unpacked)
            if not found:
                sys.exit(f"make_text: {package.name} has no pages in {pages}")
            texts += found
            versions.append(package.name)
            print(describe(package.name, found, count), flush=True)
    train, valid = split(texts)
    for name, part in (("train.jsonl", train), ("valid.jsonl", valid)):
        write(arguments.out / name, part)
        print(describe(name, part, count), flush=True)
    (arguments.out / "packages.txt").write_text("\n".join(versions) + "\n")


if __name__ == "__main__":
    main()
