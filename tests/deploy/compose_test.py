#!/usr/bin/env python3
"""Checks the compose file and the Containerfile: what they name exists, their commands work, no port is open to
others."""

import re
import subprocess
import unittest

import yaml

from harness import places, processes
from harness.program_test import ProgramTest

DEPLOY = places.REPOSITORY / "deploy"
FILE = DEPLOY / "compose/compose.yaml"


def services():
    return yaml.safe_load(FILE.read_text())["services"]


def with_defaults(word):
    """Replaces ${NAME:-default} by its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word)


class ComposeTest(ProgramTest):
    def test_mounted_files_exist_and_volumes_are_declared(self):
        declared = set(yaml.safe_load(FILE.read_text())["volumes"])
        for name, service in services().items():
            for mount in service.get("volumes", []):
                source = with_defaults(mount).split(":")[0]
                if source.startswith("."):
                    self.assertTrue((FILE.parent / source).is_dir(), f"{name}: {source}")
                else:
                    self.assertIn(source, declared, name)

    def test_nothing_is_published_beyond_this_machine(self):
        published = [port for service in services().values() for port in service.get("ports", [])]
        self.assertEqual([port for port in published if not port.startswith("127.0.0.1:")], [])

    def test_services_are_hardened(self):
        for name, service in services().items():
            self.assertIs(service["read_only"], True, name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_all_share_the_loopback_that_the_coordinator_listens_on(self):
        for name, service in services().items():
            if name != "coordinator":
                self.assertEqual(service["network_mode"], "service:coordinator", name)

    def test_the_commands_start_the_programs(self):
        port_file = self.folder / "port"
        self.start("coordinator", self.command("coordinator", 0), "--port-file", port_file)
        port = processes.wait_until(lambda: port_file.exists() and port_file.read_text().strip(), "the port", 60)
        self.start("worker", self.command("worker", port))
        processes.wait_until(lambda: "worker registered" in (self.folder / "coordinator.log").read_text(),
                             "the worker", patience_s=60, pause_s=0.1)

    def test_the_job_of_its_head_can_be_planned(self):
        """Plans the job with the folders of the image and of the volume in their places."""
        path = re.search(r"regroup submit (/data/\S+)", FILE.read_text())[1]
        mount = next(mount for mount in services()["worker"]["volumes"] if mount.endswith(":/data"))
        text = (FILE.parent / with_defaults(mount).split(":")[0] / path.removeprefix("/data/")).read_text()
        self.assertIn("checkpoint: /work/", text)
        text = text.replace("/work/", f"{self.folder}/").replace("/opt/regroup/share/demo", str(DEPLOY / "demo"))
        (self.folder / "job.yaml").write_text(text)
        done = subprocess.run([places.PROGRAMS / "regroup", "plan", self.folder / "job.yaml"], capture_output=True, text=True,
                              timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_gpus_are_added_to_a_service_that_exists(self):
        """Checks the override by what compose does with it: it merges services of the same name."""
        added = yaml.safe_load((DEPLOY / "compose/gpu.yaml").read_text())["services"]
        self.assertEqual(set(added), {"worker"})
        self.assertLess(set(added), set(services()))
        [device] = added["worker"]["deploy"]["resources"]["reservations"]["devices"]
        self.assertEqual(device, {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]})
        self.assertEqual(added["worker"]["ulimits"]["memlock"], {"soft": -1, "hard": -1})

    def test_prometheus_and_grafana_get_what_deploy_ships(self):
        known = subprocess.run(["prometheus", "--help"], capture_output=True, text=True)
        for flag in services()["prometheus"]["command"]:
            self.assertIn(flag.split("=")[0], known.stdout + known.stderr)
        provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/regroup.yaml").read_text())["providers"][0]
        self.assertIn(f"../grafana/dashboards:{provider['options']['path']}:ro", services()["grafana"]["volumes"])
        source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
        variable = re.fullmatch(r"\$\{(\w+)\}", source["url"])[1]
        self.assertIn(variable, services()["grafana"]["environment"])

    def test_the_containerfile_copies_files_that_exist_and_ends_without_rights(self):
        text = (DEPLOY / "container/Containerfile").read_text()
        for path in re.findall(r"deploy/[\w./-]+", text):
            self.assertTrue((places.REPOSITORY / path).exists(), path)
        self.assertEqual(re.findall(r"^USER (\S+)$", text, re.MULTILINE), ["10001:10001"])
        self.assertGreater(text.index("USER"), text.rindex("RUN"))

    def command(self, service, port):
        words = [with_defaults(word) for word in services()[service]["command"]]
        words = [str(self.folder / "work") if word == "/work" else word for word in words]
        words = [word.replace(":7447", f":{port}").replace(":9447", ":0") for word in words]
        return [places.PROGRAMS / words[0], *words[1:]]

    def start(self, name, command, *more):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = processes.start([*command, *more], stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)


if __name__ == "__main__":
    unittest.main(verbosity=2)
