#!/usr/bin/env python3
"""Reads every call of std::filesystem: those that throw are not used, because what people name may be gone or closed.

Such a call has a form with a std::error_code as its last argument; services/common/base/paths.h has the questions that
are asked most often."""

import pathlib
import re
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PARTS = ("services", "coordinator", "trainer")
CALL = re.compile(r"\b(?:std::filesystem|fs)::(\w+)(?:\s+\w+)?\(")
MEMBER = re.compile(r"(?:entry|at)(?:\.|->)"
                    r"(?:is_directory|is_regular_file|is_symlink|exists|symlink_status|file_size|last_write_time)\(\)")
LOOP = re.compile(r"\bfor\s*\([^;)]*:\s*(?:std::filesystem|fs)::(?:recursive_)?directory_iterator\(")
# Names of what cannot fail or does not look at files.
HARMLESS = {"path", "file_time_type", "file_status", "perms", "directory_entry", "filesystem_error", "u8path",
            "hash_value", "is_directory", "exists", "is_regular_file", "is_symlink", "status_known"}
# These take a file_status too, and then look at nothing: they are judged by their argument.
BY_STATUS = {"is_directory", "exists", "is_regular_file", "is_symlink"}
ERROR_CODE = re.compile(r"std::error_code\s*&?\s*(\w+)")


def arguments_of(text, opening):
    """Returns the arguments of the call whose parenthesis opens there."""
    depth, start, arguments = 0, opening + 1, []
    for position in range(opening, len(text)):
        character = text[position]
        if character in "({[":
            depth += 1
        elif character in ")}]":
            depth -= 1
            if depth == 0:
                arguments.append(text[start:position].strip())
                return arguments
        elif character == "," and depth == 1:
            arguments.append(text[start:position].strip())
            start = position + 1
    return arguments


def without_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def throwing_calls(text):
    """Returns the calls that may throw, each with the number of its line."""
    text = without_comments(text)
    codes = set(ERROR_CODE.findall(text))
    found = []
    for call in CALL.finditer(text):
        name, arguments = call[1], arguments_of(text, call.end() - 1)
        if name in HARMLESS - BY_STATUS or (arguments and arguments[-1] in codes):
            continue
        is_of_status = name in BY_STATUS and (arguments[0].endswith("status") or "status(" in arguments[0])
        if not is_of_status:
            found.append((text.count("\n", 0, call.start()) + 1, call[0] + ", ".join(arguments) + ")"))
    for pattern in (MEMBER, LOOP):
        found += [(text.count("\n", 0, match.start()) + 1, match[0]) for match in pattern.finditer(text)]
    return sorted(found)


class FilesystemCalls(unittest.TestCase):
    def test_of_the_programs_never_throw(self):
        findings = []
        for part in PARTS:
            for file in sorted((REPOSITORY / part).rglob("*")):
                if file.suffix not in (".h", ".cc", ".cu"):
                    continue
                findings += [f"{file.relative_to(REPOSITORY)}:{line}: {call}"
                             for line, call in throwing_calls(file.read_text())]
        self.assertEqual(findings, [], "\n" + "\n".join(findings))

    def test_finds_what_throws(self):
        for throwing in ("if (std::filesystem::exists(path)) return;", "fs::absolute(path)",
                         "fs::rename(a, b)", "for (const auto& entry : fs::directory_iterator(folder, error)) {",
                         "std::error_code error;\nfs::copy(a, error, b);", "entry.is_directory()",
                         "fs::recursive_directory_iterator at(folder);"):
            with self.subTest(throwing):
                self.assertNotEqual(throwing_calls(throwing), [])

    def test_accepts_what_does_not(self):
        for harmless in ("std::error_code e; fs::exists(path, e);", "fs::path(text)", "fs::is_directory(status)",
                         "Exists(path)",
                         "std::error_code error;\nfor (fs::directory_iterator at(folder, error), end; at != end;) {",
                         "// fs::exists(path)"):
            with self.subTest(harmless):
                self.assertEqual(throwing_calls(harmless), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
