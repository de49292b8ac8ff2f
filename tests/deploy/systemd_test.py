#!/usr/bin/env python3
"""Checks the units of deploy/systemd: systemd accepts and rates them, and their command lines start the programs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest

from harness import places, processes
from harness.program_test import ProgramTest

UNITS = places.REPOSITORY / "deploy/systemd"
# systemd's own exposure score of a service, 0 to 10; it calls up to 2 "safe", up to 4.9 "OK", up to 7.4 "medium".
MOST_EXPOSURE = {"regroup-coordinator": 1.5, "regroup-worker": 4.0}


class Unit:
    """A unit file, with the programs of this build in place of the installed ones."""

    def __init__(self, name):
        self.name = name
        self.text = (UNITS / f"{name}.service").read_text().replace("/usr/bin/", f"{places.PROGRAMS}/")

    def command(self, environment):
        """Splits ExecStart as systemd does: ${NAME} is one word, $NAME as many as its value has."""
        words = []
        for word in shlex.split(re.search(r"^ExecStart=(.*)$", self.text, re.MULTILINE)[1]):
            if re.fullmatch(r"\$\w+", word):
                words += environment[word[1:]].split()
            else:
                words.append(re.sub(r"\$\{(\w+)\}", lambda match: environment[match[1]], word))
        return words

    def environment(self):
        return dict(re.findall(r"^Environment=(\w+)=(.*)$", self.text, re.MULTILINE))

    def verify(self, folder):
        """Runs systemd's verifier; state folders, which systemd creates itself, do not exist here."""
        path = folder / f"{self.name}.service"
        path.write_text(self.text)
        return subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)


class SystemdTest(ProgramTest):
    def test_systemd_accepts_the_units(self):
        for name in MOST_EXPOSURE:
            done = Unit(name).verify(self.folder)
            self.assertEqual((done.returncode, done.stderr + done.stdout), (0, ""), name)

    def test_systemd_notices_a_unit_that_is_wrong(self):
        unit = Unit("regroup-worker")
        unit.text = unit.text.replace("KillMode=mixed", "KillMode=mixd")
        self.assertIn("Failed to parse kill mode", unit.verify(self.folder).stderr)

    def test_services_may_do_little(self):
        for name, most in MOST_EXPOSURE.items():
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                                   UNITS / f"{name}.service"], capture_output=True, text=True)
            score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])
            print(f"{name}: exposure {score} of 10")
            self.assertLessEqual(score, most, done.stdout)

    def test_the_guide_installs_them_and_what_it_puts_into_their_files_starts_them(self):
        section = (places.REPOSITORY / "deploy/OPERATIONS.md").read_text().split("\n## With systemd\n")[1].split("\n## ")[0]
        root = self.folder / "root"
        (root / "etc").mkdir(parents=True)
        steps = [step for line in re.findall(r"^    ((?:install|systemctl) .*)$", section, re.MULTILINE)
                 for step in line.split(" && ")]
        self.assertEqual(len(steps), 6)
        for step in steps:
            # Install into a folder instead of this machine; the account exists only there.
            step = re.sub(r" (/(?:usr|etc|srv)/)", rf" {root}\1", step).replace("-o regroup -g regroup ", "")
            step = step.replace("install -m", "install -D -t UNITS -m") if step.endswith("/etc/systemd/system/") else step
            step = re.sub(r"-t UNITS (.*) (\S+)$", r"-t \2 \1", step)
            step = re.sub(r"^(systemd-sysusers|systemctl)", rf"\1 --root={root}", step).replace("--now ", "")
            if "daemon-reload" not in step:
                done = subprocess.run(["bash", "-c", step], cwd=places.REPOSITORY, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, f"{step}\n{done.stderr}")
        self.assertRegex((root / "etc/passwd").read_text(), r"(?m)^regroup:")
        for name in MOST_EXPOSURE:
            self.assertTrue((root / f"etc/systemd/system/multi-user.target.wants/{name}.service").is_symlink(), name)
        of_coordinator, of_worker = section.split("and into worker.conf:")
        self.check_settings("regroup-coordinator", of_coordinator)
        self.check_settings("regroup-worker", of_worker)

    def check_settings(self, program, text):
        """Checks that the unit passes the guide's settings on and that the program accepts them."""
        settings = dict(re.findall(r"^    (REGROUP_\w+)=(.*)$", text, re.MULTILINE))
        self.assertLessEqual(set(settings), set(Unit(program).environment()))
        known = subprocess.run([places.PROGRAMS / program, "--help"], capture_output=True, text=True).stdout
        flags = re.findall(r"--[a-z-]+", " ".join(settings.values()))
        self.assertTrue(flags)
        for flag in flags:
            self.assertIn(flag, known)

    def test_the_command_lines_start_the_programs(self):
        work = {"REGROUP_WORK_DIR": str(self.folder / "work"), "STATE_DIRECTORY": str(self.folder / "state")}
        coordinator = Unit("regroup-coordinator")
        port_file = self.folder / "port"
        environment = {**coordinator.environment(), **work, "REGROUP_LISTEN": "127.0.0.1:0",
                       "REGROUP_METRICS_LISTEN": "127.0.0.1:0", "REGROUP_SECURITY": "",
                       "REGROUP_OPTIONS": f"--port-file {port_file} --data-root /srv --keep-finished-days 30"}
        self.start("coordinator", coordinator.command(environment))
        port = processes.wait_until(lambda: port_file.exists() and port_file.read_text().strip(), "the port", 60)
        worker = Unit("regroup-worker")
        environment = {**worker.environment(), **work, "REGROUP_COORDINATOR": f"127.0.0.1:{port}"}
        self.start("worker", worker.command(environment))
        processes.wait_until(lambda: "worker registered" in (self.folder / "coordinator.log").read_text(),
                             "the worker", patience_s=60, pause_s=0.1)
        self.assertTrue((self.folder / "state/regroup.db").exists())

    def start(self, name, command):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = processes.start(command, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)


if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        print("skipped: there is no systemd-analyze")
        sys.exit(77)
    os.environ["SYSTEMD_PAGER"] = ""
    unittest.main(verbosity=2)
