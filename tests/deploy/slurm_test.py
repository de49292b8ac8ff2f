#!/usr/bin/env python3
"""Runs deploy/slurm/regroup.sbatch on a real slurmctld and two slurmd, each a node with its own network and host name:
it converts, a gang spreads over both nodes, and scancel leaves nothing behind."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest

from harness import job_file, nodes, places, processes
from harness.program_test import ProgramTest

GUIDE = places.REPOSITORY / "deploy/OPERATIONS.md"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "sinfo")
NODES = ("node1", "node2")
CONFIGURATION = """
ClusterName=regroup
SlurmctldHost=hub({hub})
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
NodeName=node1 NodeAddr={node1} CPUs=1 State=UNKNOWN
NodeName=node2 NodeAddr={node2} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""
# Acts as a separate machine that shares only the files; its network namespace is entered before.
AS_MACHINE = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


class Slurm:
    def __init__(self, folder, network):
        self.folder, self.network = folder, network
        folder.mkdir()
        (folder / "controller").mkdir()
        addresses = {name: network.address(index) for index, name in enumerate(("hub", *NODES))}
        configuration = folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, **addresses))
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in addresses.items()) +
                                      "127.0.0.1 localhost\n")
        self.environment = {**os.environ, "SLURM_CONF": str(configuration), "REGROUP_BIN": str(places.PROGRAMS)}
        self.daemons = [self._start(0, "hub", "slurmctld", "-D", "-c")]
        self.daemons += [self._start(index + 1, node, "slurmd", "-D", "-N", node) for index, node in enumerate(NODES)]
        processes.wait_until(self._nodes_are_idle, "two idle nodes", patience_s=60, pause_s=0.3)

    def run(self, *command, **settings):
        return subprocess.run([*self.network.enter(0), *map(str, command)], env=self.environment, text=True,
                              capture_output=True, timeout=120, **settings)

    def submit(self, file, work):
        """Submits with the guide's command, on the nodes of this test, which have no GPUs."""
        command = re.search(r"^    (sbatch .*)$", GUIDE.read_text(), re.MULTILINE)[1]
        command = command.replace("--nodes 4 --gpus-per-node 8", f"--nodes {len(NODES)}")
        command = command.replace("job.yaml", str(file)).replace("/shared/regroup-work", str(work))
        words = shlex.split(command)
        done = self.run(*words[:1], "--parsable", f"--output={self.folder}/job-%j.log", *words[1:], cwd=places.REPOSITORY)
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

    def _start(self, index, name, *command):
        machine = ["unshare", "--uts", "--mount", "sh", "-c", AS_MACHINE, "sh", name, self.folder / "hosts"]
        with open(self.folder / "daemons.log", "ab") as log:
            return processes.start([*self.network.enter(index), *machine, *command], stdout=log, stderr=log,
                                   env=self.environment, cwd=self.folder)

    def _nodes_are_idle(self):
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise AssertionError((self.folder / "daemons.log").read_text()[-2000:])
        return self.run("sinfo", "--noheader", "--format=%T %D").stdout.split() == ["idle", "2"]


class SlurmTest(ProgramTest):
    def setUp(self):
        super().setUp()
        network = nodes.Nodes(len(NODES))
        self.addCleanup(network.remove)
        self.slurm = Slurm(self.folder / "slurm", network)
        self.addCleanup(self.slurm.stop)
        self.work = self.folder / "work"
        # With one slot per node, the two ranks of the training are on two nodes.
        self.slurm.environment |= {"REGROUP_SLOTS": "1", "REGROUP_GANG_INTERFACE": "10.77.0.0/24"}

    def submit(self, finetune=(), **changes):
        job = job_file.small_job(self.output, finetune={"steps": 4, **dict(finetune)}, **changes)
        return self.slurm.submit(self.write_job(job), self.work)

    def wait_for(self, job, states):
        try:
            return processes.wait_until(lambda: self.slurm.state(job) in states and self.slurm.state(job), states,
                                        patience_s=300, pause_s=0.5)
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
        self.assertTrue(all('"task":"finetune"' in log for log in logs), "the gang stayed on one node")
        self.assertFalse((self.work / f"slurm/{job}/security").exists(), "keys are left")
        self.wait_for_no_programs()

        # The same command again refers to the same conversion, which is finished.
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
        processes.wait_until(lambda: len(processes.trainers_of(self.work, "finetune")) == 2, "two ranks", patience_s=400)
        networks = {os.readlink(f"/proc/{rank.pid}/ns/net") for rank in processes.trainers_of(self.work, "finetune")}
        self.assertEqual(len(networks), 2, "both ranks are on one node")
        self.assertEqual([found.program for found in processes.processes_of(self.work) if found.program == "orted"], ["orted"])
        workers = [found for found in processes.processes_of(self.work) if found.program == "regroup-worker"]
        self.assertEqual(len(workers), 2)
        for worker in workers:
            self.assertLessEqual({"--tls-authority", "--token-file", "--gang-listen"}, set(worker.arguments))
        self.assertEqual(self.slurm.run("scancel", job).returncode, 0)
        self.wait_for(job, ("CANCELLED",))
        self.wait_for_no_programs()

    def wait_for_no_programs(self):
        """Waits until no process names the working folder any more; Slurm's daemons do not name it."""
        processes.wait_until(lambda: not processes.processes_of(self.work), "the end of all programs", patience_s=60,
                             pause_s=0.2)


def why_not():
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"there is no {', '.join(missing)}; install slurm-wlm"
    return nodes.why_not()


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if why_not():
        print(f"skipped: {why_not()}")
        sys.exit(77)
    unittest.main(verbosity=2)
