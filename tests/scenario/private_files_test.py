"""Checks that nobody but the owner can read stores, backups, logs and assignments of jobs, keys and tokens, whatever the umask:
files have mode 0600, and the folders made for them 0700."""

import os
import stat
import sys
import unittest

from harness.documented_cluster import TRAINER, DocumentedClusterTest, documented_commands


class PrivateFiles(DocumentedClusterTest):
    def setUp(self):
        # The programs that the test starts inherit it.
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        super().setUp()

    def assert_private(self, path):
        """Asserts that nobody but the owner can open the file: by its own mode and by its folder's."""
        for part in (path, path.parent):
            self.assertEqual(stat.S_IMODE(part.stat().st_mode) & 0o077, 0,
                             f"{part.relative_to(self.folder)}: {stat.filemode(part.stat().st_mode)}")

    def assert_all_private(self, pattern, at_least=1):
        files = [path for path in self.folder.glob(pattern) if path.is_file()]
        self.assertGreaterEqual(len(files), at_least, pattern)
        for path in files:
            self.assert_private(path)

    def test_of_a_cluster_that_follows_the_readme(self):
        for command in documented_commands():
            self.follow(command)
            if command.startswith("regroup-coordinator backup"):
                break
        # The test itself wrote this one.
        (self.folder / "keys/admin.token").chmod(0o600)
        self.assert_all_private("keys/*", at_least=10)
        self.assert_all_private("work/coordinator/*", at_least=2)
        self.assert_all_private("work/coordinator/backups/*")
        self.assert_all_private("work/jobs/*/*/*/logs/*/std*", at_least=4)
        for path in self.folder.glob("work/jobs/*/*/*/assignment.json"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        for path in (*self.folder.rglob("*"),):
            if not path.is_symlink() and path.parent != self.folder:
                self.assertEqual(path.stat().st_mode & 0o002, 0, f"others may write to {path}")
        # People read the result, so its modes follow the umask.
        self.assertEqual(stat.S_IMODE((self.output / "regroup/report.json").stat().st_mode) & 0o044, 0o044)

    def test_of_a_token_added_to_a_folder_that_existed(self):
        (self.folder / "open").mkdir()
        self.shell("regroup-coordinator token add alice --role viewer --tokens open/tokens --output open/alice.token")
        for name in ("tokens", "tokens.lock", "alice.token"):
            path = self.folder / "open" / name
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, name)
        self.assertRegex((self.folder / "open/alice.token").read_text(), r"^rg-[0-9a-f]{64}\n$")
        said = self.shell("regroup-coordinator token add bob --role viewer --tokens open/tokens "
                          "--output open/alice.token", status=1)
        self.assertIn("alice.token", said)
        self.assertNotIn("bob", self.shell("regroup-coordinator token list --tokens open/tokens"))

    def test_of_a_store_of_an_older_version(self):
        state = self.folder / "work/coordinator"
        for command in documented_commands()[:5]:
            self.follow(command)
        self.stop_daemons()
        self.daemons.clear()
        (self.folder / "port").unlink()
        (state / "regroup.db").chmod(0o644)
        self.follow(next(command for command in documented_commands() if command.startswith("regroup-coordinator --listen")))
        self.assert_all_private("work/coordinator/*")


if __name__ == "__main__":
    if not TRAINER.exists():
        print(f"SKIPPED: {TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
