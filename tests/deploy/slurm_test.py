#!/usr/bin/env python3
"""deploy/slurm/regroup.sbatch on a real slurmctld and two slurmd of this host: it converts, and scancel leaves nothing."""

import os
import shutil
import socket
import subprocess
import sys
import unittest

from harness import job_file, places, processes
from harness.program_test import ProgramTest
from harness.prometheus import free_port

SCRIPT = places.REPOSITORY / "deploy/slurm/regroup.sbatch"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "sinfo")
CONFIGURATION = """
ClusterName=regroup
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=20
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "controller").mkdir()
        ports = {name: free_port() for name in ("controller", "first", "second")}
        configuration = folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(host=socket.gethostname(), folder=folder, **ports))
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self.environment = {**os.environ, "SLURM_CONF": str(configuration), "REGROUP_BIN": str(places.PROGRAMS)}
        self.daemons = [self._start("slurmctld", "-D", "-c")]
        self.daemons += [self._start("slurmd", "-D", "-N", node) for node in ("node1", "node2")]
        processes.wait_until(self._nodes_are_idle, "two idle nodes", patience_s=60, pause_s=0.3)

    def run(self, *command, **settings):
        return subprocess.run([str(word) for word in command], env=self.environment, text=True, capture_output=True,
                              timeout=120, **settings)

    def submit(self, *arguments):
        done = self.run("sbatch", "--parsable", "--nodes=2", f"--chdir={self.folder}",
                        f"--output={self.folder}/job-%j.log", SCRIPT, *arguments)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def state(self, job):
        done = self.run("scontrol", "show", "job", job)
        return next((word.split("=")[1] for word in done.stdout.split() if word.startswith("JobState=")), "")

    def exit_status(self, job):
        done = self.run("scontrol", "show", "job", job)
        return next(word.split("=")[1] for word in done.stdout.split() if word.startswith("ExitCode="))

    def output(self, job):
        path = self.folder / f"job-{job}.log"
        return path.read_text() if path.exists() else ""

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(timeout=60)

    def _start(self, *command):
        with open(self.folder / "daemons.log", "ab") as log:
            return processes.start(command, stdout=log, stderr=log, env=self.environment, cwd=self.folder)

    def _nodes_are_idle(self):
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise AssertionError((self.folder / "daemons.log").read_text()[-2000:])
        return self.run("sinfo", "--noheader", "--format=%T %D").stdout.split() == ["idle", "2"]


class SlurmTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.slurm = Slurm(self.folder / "slurm")
        self.addCleanup(self.slurm.stop)
        self.work = self.folder / "work"
        self.slurm.environment["REGROUP_SLOTS"] = "2"

    def submit(self, **changes):
        return self.slurm.submit(self.write_job(job_file.small_job(self.output, **changes)), self.work)

    def wait_for(self, job, states):
        try:
            return processes.wait_until(lambda: self.slurm.state(job) in states and self.slurm.state(job), states,
                                        patience_s=180, pause_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.slurm.output(job)}") from error

    def test_a_job_on_two_nodes_converts_the_model(self):
        job = self.submit()
        state = self.wait_for(job, ("COMPLETED", "FAILED"))
        self.assertEqual(state, "COMPLETED", self.slurm.output(job))
        self.assertTrue((self.output / "config.json").exists())
        logs = [(self.work / f"slurm/{job}/worker-{node}.log").read_text() for node in (0, 1)]
        started = [log.count('"attempt started"') for log in logs]
        self.assertTrue(all(started), f"one node did nothing: {started}")
        self.assertFalse((self.work / f"slurm/{job}/security").exists(), "keys are left")
        self.wait_for_no_programs()

        # The same again: the same conversion, which is done.
        again = self.submit()
        self.assertEqual(self.wait_for(again, ("COMPLETED", "FAILED")), "COMPLETED", self.slurm.output(again))
        names = {line for text in (self.slurm.output(job), self.slurm.output(again)) for line in text.splitlines()
                 if line.startswith("regroup: job ")}
        self.assertEqual(len(names), 1, names)

    def test_a_failed_conversion_fails_the_slurm_job(self):
        job = self.submit(calibration={"data": str(self.folder / "missing.jsonl")})
        self.assertEqual(self.wait_for(job, ("COMPLETED", "FAILED")), "FAILED")
        self.assertEqual(self.slurm.exit_status(job), "1:0", self.slurm.output(job))
        self.assertIn("missing.jsonl", self.slurm.output(job))
        self.wait_for_no_programs()

    def test_scancel_leaves_no_process(self):
        job = self.submit(finetune={"steps": 100000})
        processes.wait_until(lambda: processes.trainers_of(self.work, "finetune"), "the training", patience_s=120)
        workers = [found for found in processes.processes_of(self.work) if found.program == "regroup-worker"]
        self.assertEqual(len(workers), 2)
        for worker in workers:
            self.assertLessEqual({"--tls-authority", "--token-file"}, set(worker.arguments))
        self.assertEqual(self.slurm.run("scancel", job).returncode, 0)
        self.wait_for(job, ("CANCELLED",))
        self.wait_for_no_programs()

    def wait_for_no_programs(self):
        """Nothing of ours names the working folder any more; Slurm's daemons do not name it."""
        processes.wait_until(lambda: not processes.processes_of(self.work), "the end of all programs", patience_s=60,
                             pause_s=0.2)


def why_not():
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"there is no {', '.join(missing)}; install slurm-wlm"
    return None if os.geteuid() == 0 else "slurmd needs root"


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if why_not():
        print(f"skipped: {why_not()}")
        sys.exit(77)
    unittest.main(verbosity=2)
