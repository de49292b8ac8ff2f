#!/usr/bin/env python3
"""Checks that the marked commands of deploy/OPERATIONS.md do what the text says."""

import os
import re
import subprocess
import unittest

from harness import job_file, places, processes
from harness.cluster import Cluster
from harness.program_test import ProgramTest

import monitoring_files

TEXT = (places.REPOSITORY / "deploy/OPERATIONS.md").read_text()
BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


def blocks(heading):
    """Returns the commands of the marked blocks below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = BLOCK.findall(section)
    assert found, heading
    return found


class OperationsTest(ProgramTest):
    def shell(self, commands, **variables):
        environment = {**os.environ, "PATH": f"{places.PROGRAMS}:{os.environ['PATH']}",
                       **{name: str(value) for name, value in variables.items()}}
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], env=environment, cwd=places.REPOSITORY,
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, f"{commands}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_every_marked_block_belongs_to_a_test(self):
        # The one of JSON Web Tokens belongs to tests/contract/jwt_authorization_test.py.
        tested = sum(len(blocks(heading)) for heading in ("Certificates and tokens", "JSON Web Tokens", "Draining", "Pausing a job",
                                                          "Backup and restore", "Monitoring"))
        self.assertEqual(len(BLOCK.findall(TEXT)), tested)

    def test_links_lead_somewhere(self):
        anchors = {re.sub(r"[^a-z0-9 _-]", "", line.lstrip("# ").lower()).replace(" ", "-")
                   for line in TEXT.splitlines() if line.startswith("#")}
        for path, anchor in LINK.findall(TEXT):
            self.assertTrue((places.REPOSITORY / "deploy" / path).exists(), path)
            if not path:
                self.assertIn(anchor[1:], anchors)

    def test_every_failure_class_has_an_entry(self):
        proto = (places.REPOSITORY / "proto/regroup/v1/job.proto").read_text()
        classes = set(re.findall(r"FAILURE_CLASS_(\w+) =", proto)) - {"UNSPECIFIED"}
        section = TEXT.split("\n## Failure classes\n")[1].split("\n## ")[0]
        self.assertEqual(set(re.findall(r"^### (\w+)$", section, re.MULTILINE)), classes)

    def test_every_alert_has_an_entry_and_every_entry_an_alert(self):
        section = TEXT.split("\n## What each alert means\n")[1].split("\n## ")[0]
        entries = re.findall(r"^### (\w+)\n\n(.+?)(?=\n\n###|\Z)", section, re.MULTILINE | re.DOTALL)
        self.assertEqual(sorted(name for name, _ in entries), sorted(rule["alert"] for rule in monitoring_files.alerts()))
        for name, text in entries:
            self.assertGreater(len(text.split()), 25, f"{name}: what to do?")

    def test_every_reason_of_a_refused_call_is_explained(self):
        proto = (places.REPOSITORY / "proto/regroup/v1/error_reason.proto").read_text()
        reasons = set(re.findall(r"^  (\w+) = [1-9]", proto, re.MULTILINE))
        section = TEXT.split("\n## Refused calls\n")[1].split("\n## ")[0]
        self.assertEqual(set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)), reasons)

    def test_the_guide_has_a_chapter_for_each_duty(self):
        chapters = set(re.findall(r"^## (.+)$", TEXT, re.MULTILINE))
        self.assertLessEqual({"Sizing", "Storage", "Certificates and tokens", "Upgrading", "Backup and restore", "Draining",
                              "Monitoring", "What each alert means", "Failure classes", "Refused calls",
                              "What was run, and what was not"}, chapters)

    def test_draining(self):
        cluster = self.start_cluster(workers=1)
        processes.wait_until(lambda: "worker-1" in cluster.regroup("workers").stdout, "the worker", 60, pause_s=0.1)
        shown = self.shell(blocks("Draining")[0], REGROUP_COORDINATOR=cluster.address)
        self.assertRegex(shown, r"worker-1 +draining +0/2")
        self.assertRegex(cluster.regroup("workers").stdout, r"worker-1 +ready")

    def test_pausing(self):
        cluster = self.start_cluster(workers=0)
        job = cluster.submit(self.write_job(job_file.small_job(self.output)))
        shown = self.shell(blocks("Pausing a job")[0], REGROUP_COORDINATOR=cluster.address, JOB=job)
        self.assertRegex(shown, rf"jobs/{job} is paused\n.*\n{job} +paused .* paused until it is resumed\n"
                                rf"jobs/{job} is queued\n$")

    def test_monitoring(self):
        self.assertIn("SUCCESS", self.shell(blocks("Monitoring")[0]))

    def test_backup_and_restore(self):
        cluster = ServicedCluster(self.folder)
        self.addCleanup(cluster.stop)
        variables = {"STATE": cluster.work / "coordinator", "REGROUP_COORDINATOR": cluster.address}
        backup, restore = blocks("Backup and restore")
        first = cluster.submit(self.write_job(job_file.small_job(self.output)))
        self.shell_with(cluster, backup, variables)
        second = cluster.submit(self.write_job(job_file.small_job(self.output), "second.yaml"))
        self.assertEqual(self.jobs(cluster), {first, second})
        self.shell_with(cluster, restore, variables)
        self.assertEqual(self.jobs(cluster), {first})

    def shell_with(self, cluster, commands, variables):
        """Runs the commands line by line; the test takes the place of systemd."""
        for line in commands.splitlines():
            if line.startswith("systemctl "):
                cluster.systemctl(*line.split()[1:])
            else:
                self.shell(line, **variables)

    @staticmethod
    def jobs(cluster):
        return {job["name"].removeprefix("jobs/") for job in cluster.json_of("list").get("jobs", [])}

    def test_certificates_and_tokens(self):
        security = self.folder / "security"
        shown = self.shell(blocks("Certificates and tokens")[0], SECURITY=security)
        self.assertRegex(shown, r"node-1 +worker +\S+ +node-1")
        self.assertRegex(shown, r"operator +admin")
        for name in ("authority.pem", "coordinator.pem", "coordinator.key", "worker.pem", "node-1.token"):
            self.assertTrue((security / name).stat().st_size > 0, name)


class ServicedCluster(Cluster):
    """A coordinator without workers that can be stopped and started."""

    def __init__(self, folder):
        super().__init__(folder, workers=0)

    def systemctl(self, verb, service):
        assert service == "regroup-coordinator", service
        if verb == "start":
            self.start_coordinator()
        else:
            self.coordinator.terminate()
            self.coordinator.wait(timeout=60)


if __name__ == "__main__":
    unittest.main(verbosity=2)
