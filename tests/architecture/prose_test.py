#!/usr/bin/env python3
"""Reads every comment, message and page: no bare fragment opens a declaration's comment, no reference is dead, and no
phrase is one that an engineer stumbles over.

    python3 tests/architecture/prose_test.py [FOLDER|FILE ...]

lists what is found there, file by file, with what to write instead, and counts it by folder. No finding is exempt.
"""

import ast
import collections
import dataclasses
import io
import os
import pathlib
import re
import sys
import tokenize
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SKIPPED_FOLDERS = {"build", ".git", "__pycache__", "node_modules"}
# "// Of each layer" leaves it to the reader to attach the fragment to the name below. Inside a function such a word may
# open a full sentence; above a declaration it says neither what is returned nor what is stored.
FRAGMENTS = ("Behind", "Of", "Than", "That", "To be", "What", "Where", "Whether", "Which", "Who", "Whom", "Whose")
FRAGMENT = re.compile(r"(?:%s)\b(?!')" % "|".join(FRAGMENTS))
# A question such as the first line of an example file is a sentence of its own.
QUESTION = re.compile(r"[^.:;]*\?")
OPENING_ADVICE = {
    "Behind": 'a full sentence or a noun phrase, such as "The position after ..."',
    "Of": 'what it is, such as "Number of ...", "The layer\'s ...", "Belongs to ..."',
    "Whether": '"Returns true if ...", "True if ..."',
    "What": 'a verb or a noun: "Returns ...", "Stores ...", "Settings of ..."',
    "Where": '"Path of ...", "Address of ...", "The machine on which ..."',
    "Which": '"Decides which ...", "Names the ...", "Index of ..."',
}
DEFAULT_ADVICE = 'a full sentence with a verb, or the noun itself'

# A pattern, and what to write instead. Searched in comments, messages and pages, with all white space made one space.
PHRASES = [(re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in (
    # Not PROCESSORS, a property of CMake.
    (r"(?<![-_])\b(?-i:[Pp]rocessors?)\b", '"CPU", "CPUs"'),
    (r"\bmend(s|ing)?\b", '"fix"'),
    (r"(?<!\bthere )(?<!\bwhich )\b(is|are) no (?!(longer|more|better|worse|less|fewer|larger|smaller)\b)[a-z]",
     '"is not a ..."; of a resource name: "is malformed"'),
    (r"\bsigns? of life\b", '"heartbeat"'),
    (r"\bhaste\b", '"immediate", "at once"'),
    (r"\b(at most|the last|the first|in) so many\b", '"at most N", "maximum number of ...", "the last N"'),
    (r"\bread on the way\b", '"not encrypted"'),
    (r"\bfound out\b", '"determined"'),
    (r"\bmade again\b", '"repeated", "re-created"; of tokens: "re-tokenising"'),
    (r"\bdo(es)? not die\b", '"survived SIGKILL"'),
    (r"\bthe first who\b", '"the first to ..."'),
    (r"\bnobody decides\b", '"no decision depends on it"'),
    (r"\basks nobody\b|\bwho he is\b", '"does not authenticate callers"'),
    (r"\b(is|are|was|were|looks?) well\b", '"is healthy", "succeeded"'),
    (r"\bhas no random numbers\b", '"cannot read random bytes"'),
    (r"\bno fault of its own\b", '"infrastructure or internal error"'),
    (r"\bits last checkpoint is old\b", '"the last checkpoint is older than 2 h"'),
    (r"\btraining of .{1,60} does not move\b", '"training of ... has stalled"'),
    (r"\bwhat is worth\b", '"back up ..."'),
    (r"\bmakes? an? (\w+) an? \1\b", '"identifies the ..."'),
    (r"\bteller\b", '"reporter"'),
    (r"\bwhat is worse\b", '"minimum severity"'),
    (r"\bhand a job file to\b", '"submit a job file"'),
    (r"\bbesides(?=[.;,)]|$)", '"in addition", "on top", "also"'),
    (r"\brefused and is forgotten\b", '"rejected; discarding it"'),
    (r"\b(is|are) (not )?to be told\b", '"must (not) be sent"'),
    (r"\bthe products alone\b", '"matrix multiplications only"'),
    (r"\bthat may happen\b", '"that may run", "that is allowed"'),
    (r"\bfences? off those before\b", '"fences off earlier leaders"'),
    (r"\bthings that may exist\b", '"names of existing resources"'),
)]

# References to what is not in the repository, and why.
DEAD_REFERENCES = [(re.compile(pattern), reason) for pattern, reason in (
    (r"\b[Dd]esign \d+(\.\d+)*\b|\b[Ss]ections? [\d.]+ (of|in) the design\b|\b[Tt]he design (document|says|doc)\b",
     "the design document is not in the repository; state the fact, or name a page that is"),
    (r"(?<![\w/])(\.\./)+shared/\w*|/work/shared\b|(?<![\w/.])shared/\w[\w-]*\.\w+",
     "shared/ is not in the repository"),
    (r"\b[Ii]ssue #?\d+\b", "issues are not in the repository; state the fact"),
)]
FILE_NAME = re.compile(r"(?<![\w/.{}*$<>@~:+=-])((?:\.{1,2}/)*\w[\w.-]*(?:/\w[\w.-]*)*"
                       r"\.(?:h|cc|cu|md|proto|cmake|sh|py))(?![\w*{}<>/]|\.\w)")
# Files of other people's programs, and files that a page tells its reader to write.
FILES_ELSEWHERE = {"linux/ext4.h", "get_calibration.py"}
FILES_TO_WRITE = {"nova.cc", "polish.cc"}
INCLUDE = re.compile(r"#\s*include\s+[<\"]([^>\"]+)[>\"]")


@dataclasses.dataclass
class Text:
    """A comment, a message, or a paragraph of a page."""
    line: int
    words: str
    kind: str  # "comment", "message", "page"
    is_doc: bool = False  # directly above a declaration, or the first line of its file


@dataclasses.dataclass(frozen=True)
class Finding:
    file: str
    line: int
    rule: str  # "opening", "reference", "phrase"
    words: str
    advice: str

    def __str__(self):
        return f"{self.file}:{self.line}: {self.rule}: {self.words[:140]}\n    write: {self.advice}"


def one_line(text):
    return " ".join(text.split())


# --- C++ and proto --------------------------------------------------------------------------------------------------

CPP_TOKEN = re.compile(r"""
    (?P<line>//[^\n]*) | (?P<block>/\*.*?\*/) |
    (?P<raw>R"(?P<mark>[^(\s]*)\((?P<inside>.*?)\)(?P=mark)") |
    (?P<string>"(?:\\.|[^"\\\n])*") | (?P<char>(?<!\w)'(?:\\.|[^'\\\n])+') |
    (?P<directive>^[ \t]*\#(?:[^\n\\]|\\\n|\\.)*) | (?P<open>\{) | (?P<close>\}) | (?P<semicolon>;) | (?P<other>.)
    """, re.VERBOSE | re.DOTALL | re.MULTILINE)
DECLARES = re.compile(r"\b(namespace|class|struct|union|enum|message|service|extern)\b(?!.*[)=]\s*$)", re.DOTALL)


def cpp_texts(source):
    """Comments with whether they stand among declarations rather than in a function's body, and string literals."""
    texts, scopes, statement, line = [], [], "", 1
    literal = None  # neighbouring literals are one message
    open_comment = None  # the `//` lines directly above one another are one comment
    is_line_start, previous_end = True, 0
    for token in CPP_TOKEN.finditer(source):
        kind, value = token.lastgroup, token.group()
        if kind in ("mark", "inside"):
            kind = "raw"
        if kind == "line":
            words = value.lstrip("/").lstrip("<").strip()
            if open_comment and is_line_start and open_comment[1] == line - 1 and words:
                open_comment[0].words += " " + words
                open_comment[1] = line
            else:
                comment = Text(line, words, "comment")
                comment.is_own_line, comment.among_declarations = is_line_start, all(scopes)
                texts.append(comment)
                open_comment = [comment, line] if is_line_start and words else None
        elif kind == "block":
            texts.append(Text(line, one_line(value.strip("/*")), "comment"))
            texts[-1].is_own_line, texts[-1].among_declarations = is_line_start, all(scopes)
            open_comment = None
        elif kind in ("string", "raw"):
            inside = token.group("inside") if kind == "raw" else value[1:-1]
            inside = re.sub(r"\\[nt]", " ", inside)
            if literal and literal[1] == token.start():
                literal[0].words += inside
                literal[1] = token.end()
            else:
                literal = [Text(line, inside, "message"), token.end()]
                texts.append(literal[0])
            statement += '""'
        elif kind == "open":
            scopes.append(bool(DECLARES.search(statement.strip())))
            statement = ""
        elif kind == "close":
            if scopes:
                scopes.pop()
            statement = ""
        elif kind == "semicolon":
            statement = ""
        elif kind in ("other", "char"):
            statement += value
        if literal and value.isspace() and literal[1] == token.start():
            literal[1] = token.end()
        if "\n" in value:
            is_line_start = value.rpartition("\n")[2].strip() == ""
        elif not value.isspace():
            is_line_start = False
        line += value.count("\n")
    lines = source.split("\n")
    for text in texts:
        if text.kind == "comment" and text.is_own_line:
            text.is_doc = is_first(lines, text.line) or text.among_declarations and is_followed(lines, text.line, "/")
    return texts


def is_first(lines, line):
    """True if nothing stands above the line but a shebang."""
    return all(not above.strip() or above.startswith("#!") for above in lines[:line - 1])


def is_followed(lines, line, mark):
    """True if the comment that begins in this line stands directly above something."""
    while line < len(lines) and lines[line].strip().startswith((mark, "*")):
        line += 1
    return line < len(lines) and lines[line].strip() not in ("", "}", "};", ")", "]")


# --- Python, shell, CMake, YAML -------------------------------------------------------------------------------------

PYTHON_DECLARES = re.compile(r"(def|class|async def|@)\b|@|[A-Za-z_][\w, ]*(: [^=]*)?=")


def python_texts(source):
    lines = source.split("\n")
    yield from hash_comments([(token.start[0], token.start[1], token.string) for token in
                              tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT],
                             lines, PYTHON_DECLARES)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstrings.add(node.body[0].value)
            yield Text(node.body[0].lineno, node.body[0].value.value, "comment", is_doc=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield Text(node.lineno, node.value, "message")


def hash_comments(found, lines, declares):
    """Neighbouring comment lines of their own as one; those at the end of a line of code one by one."""
    comment = None
    for line, column, value in found:
        words = re.sub(r"^#+ ?(-- )?", "", value).strip()
        is_own = not lines[line - 1][:column].strip()
        if is_own and comment and comment[1] == line - 1 and words:
            comment[0].words += " " + words
            comment[1] = line
            continue
        if comment:
            yield comment[0]
        if value.startswith("#!"):
            comment = None
            continue
        text = Text(line, words, "comment")
        if is_own:
            below = next((lines[at] for at in range(line, len(lines)) if not lines[at].strip().startswith("#")), "")
            text.is_doc = is_first(lines, line) or bool(declares.match(below.strip())) and (
                not below.startswith(" ") or not column or declares is not PYTHON_DECLARES or
                bool(re.match(r"\s*(def|class|async|@)\b", below)))
        comment = [text, line] if is_own and words else None
        if not comment:
            yield text
    if comment:
        yield comment[0]


HASH_COMMENT = re.compile(r"""^(?:[^#"'\n]|"[^"\n]*"|'[^'\n]*')*?(?:^|(?<=\s))(#.*)$""")
DECLARES_BELOW = {
    ".yaml": re.compile(r"(- )?[\w./\"'-]+:"),
    ".cmake": re.compile(r"(function|macro|set|option|add_\w+|regroup_\w+|target_\w+|find_\w+)\("),
    ".sh": re.compile(r"\w+\(\) *\{|[A-Za-z_]\w*=|readonly |local "),
}


def hash_texts(source, suffix):
    lines = source.split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        comment = HASH_COMMENT.match(line)
        if comment:
            found.append((number, comment.start(1), comment.group(1)))
        elif suffix == ".yaml" or '"' in line:
            yield Text(number, line, "message")
    yield from hash_comments(found, lines, DECLARES_BELOW[suffix])


# --- Pages ----------------------------------------------------------------------------------------------------------

def page_texts(source):
    """Paragraphs, and lines of code blocks one by one."""
    paragraph = None
    for number, line in enumerate(source.split("\n"), 1):
        if not line.strip() or line.startswith(("    ", "|", "#")):
            if paragraph:
                yield paragraph
            paragraph = None
            if line.strip():
                yield Text(number, line, "page")
        elif paragraph:
            paragraph.words += " " + line
        else:
            paragraph = Text(number, line, "page")
    if paragraph:
        yield paragraph


def texts_of(path):
    source = path.read_text(encoding="utf-8")
    if path.suffix in (".h", ".cc", ".cu", ".proto"):
        return cpp_texts(source)
    if path.suffix == ".py":
        return list(python_texts(source))
    if path.suffix == ".md":
        return list(page_texts(source))
    if path.suffix in (".yaml", ".yml", ".tpl"):
        return list(hash_texts(source, ".yaml"))
    if path.suffix == ".sh":
        return list(hash_texts(source, ".sh"))
    return list(hash_texts(source, ".cmake"))


def is_read(path):
    return (path.suffix in (".h", ".cc", ".cu", ".proto", ".py", ".md", ".yaml", ".yml", ".tpl", ".sh", ".cmake")
            or path.name == "CMakeLists.txt")


def repository_files():
    for folder, folders, files in os.walk(REPOSITORY):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        yield from (pathlib.Path(folder) / name for name in sorted(files))


class Reader:
    """Finds what the rules refuse. Knows all files of the repository, and the headers included from elsewhere."""

    def __init__(self):
        self.files = list(repository_files())
        self.paths = {path.relative_to(REPOSITORY).as_posix() for path in self.files}
        self.names = {path.name for path in self.files}
        self.included = set()
        for path in self.files:
            if path.suffix in (".h", ".cc", ".cu"):
                self.included.update(INCLUDE.findall(path.read_text(encoding="utf-8")))

    def exists(self, name, beside):
        if name in FILES_ELSEWHERE | FILES_TO_WRITE:
            return True
        if "/" not in name:
            return name in self.names or name in self.included
        if name in self.included or (beside / name).resolve().exists():
            return True
        if name.startswith("build/"):
            return True  # made by a build
        return any(path == name or path.endswith("/" + name) for path in self.paths)

    def dead_references(self, text, beside):
        for pattern, reason in DEAD_REFERENCES:
            for found in pattern.finditer(text):
                yield found.group(), reason
        for name in FILE_NAME.findall(re.sub(r"\w+://\S+", "", text)):
            if not self.exists(name, beside):
                yield name, "no such file in the repository; name the one that holds it now"

    def findings(self, path, texts=None):
        name = path.relative_to(REPOSITORY).as_posix()
        for text in texts_of(path) if texts is None else texts:
            words = one_line(text.words)
            # A single word is data, not a sentence.
            if text.kind == "message" and (" " not in words or len(words) < 12):
                continue
            if text.is_doc and FRAGMENT.match(words) and not QUESTION.match(words):
                opening = FRAGMENT.match(words).group()
                yield Finding(name, text.line, "opening", words, OPENING_ADVICE.get(opening, DEFAULT_ADVICE))
            if text.kind != "message":
                for found, reason in self.dead_references(words, path.parent):
                    yield Finding(name, text.line, "reference", f'"{found}" in: {words}', reason)
            for pattern, advice in PHRASES:
                for found in pattern.finditer(words):
                    around = words[max(0, found.start() - 50):found.end() + 50]
                    yield Finding(name, text.line, "phrase", f'"{found.group().strip()}" in: {around}', advice)

    def all_findings(self, places=()):
        places = [pathlib.Path(place).resolve() for place in places] or [REPOSITORY]
        for path in self.files:
            if is_read(path) and any(path == place or place in path.parents for place in places):
                yield from self.findings(path)


def counts_by_folder(findings):
    counts = collections.Counter((finding.file.rpartition("/")[0] or ".", finding.rule) for finding in findings)
    folders = sorted({folder for folder, _ in counts})
    rules = ("opening", "reference", "phrase")
    lines = ["%-44s %8s %10s %8s" % ("folder", *rules)]
    lines += ["%-44s %8s %10s %8s" % (folder, *(counts[folder, rule] or "" for rule in rules)) for folder in folders]
    lines += ["%-44s %8s %10s %8s" % ("all", *(sum(n for (_, r), n in counts.items() if r == rule) for rule in rules))]
    return "\n".join(lines)


class Prose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reader = Reader()
        assert len(cls.reader.files) > 500, "found no sources"

    def test_of_the_repository_has_no_findings(self):
        findings = list(self.reader.all_findings())
        report = "\n".join(map(str, findings))
        self.assertEqual(len(findings), 0, f"\n{report}\n\n{counts_by_folder(findings)}")

    def rules_of(self, name, source):
        """The rules that the text of a file with this name breaks."""
        path = REPOSITORY / name
        texts = {".py": python_texts, ".md": page_texts, ".yaml": lambda text: hash_texts(text, ".yaml"),
                 ".sh": lambda text: hash_texts(text, ".sh")}.get(path.suffix, cpp_texts)(source)
        return [finding.rule for finding in self.reader.findings(path, texts)]

    def test_refuses_a_fragment_above_a_declaration(self):
        for name, source in (
                ("a.h", "// Whether it is so.\n"),
                ("a.h", "// Ok.\nnamespace a {\n/// Of each layer.\nint x;\n}\n"),
                ("a.h", "// Ok.\nclass A {\n public:\n  // What it holds,\n  // and more.\n  int x;\n};\n"),
                ("a.cc", "namespace {\n/// Whom to call.\nint F() { return 1; }\n}\n"),
                ("a.proto", 'syntax = "proto3";\nmessage A {\n  // Which one.\n  int32 a = 1;\n}\n'),
                ("a.py", '"""What it does."""\n'), ("a.py", "x = 1\n# Behind the name.\ny = 2\n"),
                ("a.yaml", "a: 1\n# -- Where it lies.\nb: 2\n"), ("a.sh", "#!/bin/sh\n# What it does.\nx\n")):
            with self.subTest(source):
                self.assertEqual(self.rules_of(name, source), ["opening"])

    def test_accepts_full_sentences_and_questions(self):
        for name, source in (
                ("a.h", "// Returns what it holds.\nint F();\n"),
                ("a.h", "// Official names.\nint a;\n"),
                ("a.h", "// Ok.\nint a;  // What follows code is a remark.\n"),
                ("a.cc", "// Ok.\nint F() {\n  // Of two, the first counts.\n  g();\n}\n"),
                ("a.yaml", "# Which ratio, which training? One job measures all.\na: 1\n"),
                ("a.md", "## What it does\n")):
            with self.subTest(source):
                self.assertEqual(self.rules_of(name, source), [])

    def test_refuses_references_to_what_is_not_there(self):
        for words in ("as in design " + "4.2", "section 5.2 " + "of the design", "see coordinator/job/" + "graf.h",
                      "see gone" + "_page.md", "see ../" + "shared/style"):
            with self.subTest(words):
                self.assertEqual(self.rules_of("a.h", f"// Holds it: {words}.\nint a;\n"), ["reference"])
                self.assertEqual(self.rules_of("a.md", f"It holds: {words}.\n"), ["reference"])
        self.assertEqual(self.rules_of("a.h", "// See coordinator/README.md and prose_test.py.\nint a;\n"), [])

    def test_refuses_phrases_in_comments_messages_and_pages(self):
        phrase = "two process" + "ors work"
        for name, source in (("a.h", f"// It runs: {phrase}.\n"),
                             ("a.cc", f'int F() {{ Log("it says {{}}: {phrase}"); }}\n'),
                             ("a.py", f'raise Error("it says: {phrase}")\n'), ("a.md", f"It runs: {phrase}.\n"),
                             ("a.yaml", f"summary: it runs, {phrase}\n")):
            with self.subTest(source):
                self.assertEqual(self.rules_of(name, source), ["phrase"])


def main(places):
    findings = list(Reader().all_findings(places))
    for finding in findings:
        print(finding)
    print(("\n" if findings else "") + counts_by_folder(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    if any(os.path.exists(argument) for argument in sys.argv[1:]):
        sys.exit(main(sys.argv[1:]))
    unittest.main(verbosity=2)
