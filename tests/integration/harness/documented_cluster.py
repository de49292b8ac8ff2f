"""The base of tests that do what a page says, command by command, against the cluster of coordinator/README.md.

Only what a test must change is changed: the port and the trainer, which is replaced by the fake one.
"""

import os
import pathlib
import re
import signal
import subprocess

from harness import places, processes
from harness.program_test import ProgramTest

README = places.REPOSITORY / "coordinator/README.md"
TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"


def documented_commands(page=README):
    """Returns the page's indented lines that start with a word."""
    return re.findall(r"^    (\S.*)$", page.read_text(), re.MULTILINE)


class DocumentedClusterTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, PATH=f"{places.PROGRAMS}:{os.environ['PATH']}")
        self.port = None
        self.daemons = []
        self.addCleanup(self.stop_daemons)
        for name in ("data", "work"):
            (self.folder / name).mkdir()
        self.write_job({"name": "small", "source": {"checkpoint": str(self.folder / "data/model")},
                        "target": {"kv_heads": 2}, "calibration": {"data": str(self.folder / "data/train.jsonl")},
                        "finetune": {"method": "none"}, "output": {"checkpoint": str(self.output)},
                        "labels": {"behaviour": "job"}})

    def stop_daemons(self):
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=60)

    def start_daemon(self, command):
        is_worker = command.startswith("regroup-worker")
        extra = f" --device cpu --trainer {TRAINER}" if is_worker else \
            " --metrics-listen 127.0.0.1:0 --port-file port --lease-s 3 --heartbeat-s 1"
        command = self.at_port(command) if is_worker else command.replace(":7447", ":0")
        with open(self.folder / ("worker.log" if is_worker else "coordinator.log"), "ab") as log:
            self.daemons.append(processes.start(["bash", "-c", "exec " + command + extra], cwd=self.folder,
                                                env=self.environment, stdout=log, stderr=log))
        if not is_worker:
            port_file = self.folder / "port"
            processes.wait_until(lambda: port_file.exists() and port_file.read_text().endswith("\n"), "the port", 30)
            self.port = port_file.read_text().strip()

    def at_port(self, command):
        return command.replace(":7447", f":{self.port}")

    def shell(self, command, status=0):
        done = subprocess.run(["bash", "-c", self.at_port(command)], cwd=self.folder, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def follow(self, command):
        """Runs one line of coordinator/README.md."""
        if re.match(r"regroup-coordinator --listen|regroup-worker ", command):
            return self.start_daemon(command)
        if command.startswith("export "):
            self.environment.update(pair.split("=", 1) for pair in self.at_port(command).split()[1:])
            return None
        text = self.shell(command)
        if command.startswith("regroup-coordinator init"):
            (self.folder / "keys/admin.token").write_text(re.search(r"^rg-\S+$", text, re.MULTILINE).group() + "\n")
        if command == "regroup submit job.yaml":
            processes.wait_until(lambda: "succeeded" in self.shell("regroup list").lower(), "the job's end", 60, 0.2)
        return text
