#!/usr/bin/env python3
"""The manual pages that the programs write: groff formats them without a warning, and they have every command and every flag of
--help."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from harness import places

PAGES = {"regroup": 1, "regroup-coordinator": 8, "regroup-worker": 8}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def output_of(program, *arguments):
    done = subprocess.run([places.PROGRAMS / program, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def commands_of(help_text):
    """Returns the names below "Subcommands:"."""
    section = help_text.partition("Subcommands:\n")[2]
    return re.findall(r"^  (\w[\w-]*)", section.split("\n\n")[0], re.MULTILINE)


class ManPages(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def formatted(self, program):
        """Returns the page as man shows it; fails on a warning."""
        page = self.folder / f"{program}.{PAGES[program]}"
        page.write_text(output_of(program, "--man-page"), encoding="utf-8")
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "100", "MAN_KEEP_FORMATTING": ""}
        done = subprocess.run(["man", "--warnings", "--encoding=UTF-8", "--local-file", page], env=environment,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), program)
        # Words that were broken at the end of a line.
        return re.sub("‐\n *", "", done.stdout)

    def test_have_no_warning_and_every_command_and_flag_of_help(self):
        for program in PAGES:
            text = self.formatted(program)
            helps = [output_of(program, "--help")]
            commands = commands_of(helps[0])
            for command in commands:
                self.assertRegex(text, rf"(?m)^   {command}\b", program)
                helps.append(output_of(program, command, "--help"))
            flags = {flag for shown in helps for flag in FLAG.findall(shown)} - {"--help"}
            self.assertGreater(len(flags), 10, program)
            self.assertEqual({flag for flag in flags if flag not in text}, set(), program)

    def test_have_the_sections_that_every_page_has(self):
        for program in PAGES:
            text = self.formatted(program)
            for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
                self.assertRegex(text, rf"(?m)^{section}$", program)
            self.assertRegex(text, rf"(?m)^{program.upper()}\({PAGES[program]}\)")
        self.assertIn("Exit status: 0 done, 1 the job failed", self.formatted("regroup"))

    def test_the_flag_that_writes_them_is_not_shown(self):
        for program in PAGES:
            self.assertNotIn("--man-page", output_of(program, "--help"))
            self.assertNotIn("--man-page", output_of(program, "--man-page"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
