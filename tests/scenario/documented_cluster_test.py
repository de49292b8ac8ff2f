"""Does what coordinator/README.md says, command by command, and checks what it promises.

Only what a test must change is changed: the port, and the trainer, which is one that plays its part.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

from harness import places, processes
from harness.program_test import ProgramTest

_README = places.REPOSITORY / "coordinator/README.md"
_TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"


def documented_commands():
    return re.findall(r"^    (\S.*)$", _README.read_text(), re.MULTILINE)


class DocumentedCluster(ProgramTest):
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
        extra = f" --id node-1 --device cpu --trainer {_TRAINER}" if is_worker else \
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
        """One line of the README."""
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

    def test_the_commands_do_what_they_say(self):
        said = {command: self.follow(command) for command in documented_commands()}
        self.assertGreater(len(said), 12)
        self.assertTrue((self.output / "regroup/report.json").exists(), "the result is published")
        self.assertIn("node-1", said["regroup workers"])
        audit = said["regroup audit --token-file keys/admin.token"]
        self.assertRegex(audit, r"alice\s+submitter\s+\S+\s+JobService/SubmitJob\s+jobs/small-")
        self.assertIn("draining", said["regroup drain node-1 --token-file keys/admin.token"])
        self.assertTrue((self.folder / "work/coordinator/backups/monday.db").exists())
        # The last thing the README does to alice is to remove her token.
        self.assertIn("not known", self.shell("regroup list", status=2))
        self.assertIn("nodes", self.shell("regroup-coordinator token list --tokens keys/tokens"))

    def test_nobody_gets_further_than_the_readme_says(self):
        for command in documented_commands()[:7]:
            self.follow(command)
        self.assertIn("is for admin", self.shell("regroup drain node-1", status=2))
        self.assertIn("no token", self.shell("env -u REGROUP_TOKEN_FILE regroup list", status=2))
        outside = self.shell("sed s:results/model:elsewhere: job.yaml > other.yaml; regroup submit other.yaml", status=2)
        self.assertIn("output.checkpoint", outside)
        self.shell("ln -s / data/way-out; sed s:data/model:data/way-out/etc: job.yaml > link.yaml")
        self.assertIn("source.checkpoint", self.shell("regroup submit link.yaml", status=2))
        self.shell("rm data/way-out; mkdir data/way-out; regroup submit link.yaml")
        self.assertIn("needs tokens", self.shell("regroup-coordinator --listen 0.0.0.0:0 --work-dir open "
                                                 "--tls-certificate keys/coordinator.pem --tls-key keys/coordinator.key "
                                                 "--tls-authority keys/authority.pem", status=1))
        self.assertIn("mutual TLS", self.shell("regroup-coordinator --listen 0.0.0.0:0 --work-dir open "
                                               "--tokens keys/tokens", status=1))

    def test_the_worker_looks_again_where_a_path_leads(self):
        for command in documented_commands()[:7]:
            self.follow(command)
        worker = self.daemons.pop()
        worker.terminate()
        worker.wait(timeout=60)
        self.shell("mkdir data/model; regroup submit job.yaml")
        self.shell("rmdir data/model; ln -s /etc data/model")
        self.follow(documented_commands()[5])
        processes.wait_until(lambda: "JOB_STATE_FAILED" in self.shell("regroup list --json"), "the failure", 60, 0.2)
        self.assertIn("source.checkpoint", self.shell("regroup list --json"))


if __name__ == "__main__":
    if not _TRAINER.exists():
        print(f"SKIPPED: {_TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
