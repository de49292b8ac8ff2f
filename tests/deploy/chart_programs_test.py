#!/usr/bin/env python3
"""Starts the real programs with the chart's commands, arguments, certificates and scripts, and folders as volumes."""

import base64
import json
import re
import subprocess
import unittest
import urllib.request

from harness import job_file, jwt_issuer, places, postgres, processes
from harness.program_test import ProgramTest
from harness.webhook_receiver import SECRET, Receiver

import chart

POD = "demo-regroup-worker-0"


class Release:
    """A rendered release, its volumes as folders of the test."""

    def __init__(self, folder, values, certificates=True):
        self.folder = folder
        self.objects = chart.manifests(values)
        self.ports = []
        for component in ("coordinator", "worker", "client") if certificates else ():
            self._write_secret(component)
        for name in ("work", "state", "auth"):
            (folder / name).mkdir(exist_ok=True)
        scripts = chart.find(self.objects, "ConfigMap", "-scripts")["data"]
        for name, text in scripts.items():
            self._write(folder / "scripts" / name, text.encode())

    def container(self, kind, name):
        pod = chart.find(self.objects, kind, name)
        pod = pod["spec"]["template"] if "template" in pod["spec"] else pod
        return pod["spec"]["containers"][0]

    def command(self, container, component):
        return [self._here(word, component) for word in container["command"] + container.get("args", [])]

    def environment(self, container, component):
        """Returns the environment as Kubernetes sets it, with the image's PATH."""
        pairs = {entry["name"]: self._here(entry["value"], component) for entry in container["env"] if "value" in entry}
        return {"PATH": f"{places.PROGRAMS}:/usr/bin:/bin", "POD_NAME": POD, **pairs}

    def _here(self, word, component):
        """Returns a word of a pod's definition, adapted to this machine."""
        here = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        word = re.sub(r"(dns:///)?demo-regroup-coordinator(-headless)?\.ml\.svc:7447", here, word)
        word = word.replace("$(POD_NAME)", POD).replace(":7447", ":0").replace(":9447", ":0").replace("0.0.0.0:7448", "127.0.0.1:0")
        for there, here in {"/etc/regroup/tls": f"tls-{component}", "/etc/regroup/auth": "auth",
                            "/etc/regroup/jwt-keys": "jwt-keys", "/etc/regroup/jwt-roles": "jwt-roles",
                            "/etc/regroup/identity": "identity", "/etc/regroup/quotas": "quotas",
                            "/etc/regroup/webhooks": "webhooks",
                            "/etc/regroup/scripts": "scripts", "/etc/regroup/store": "store", "/var/lib/regroup": "state"}.items():
            word = word.replace(there, str(self.folder / here))
        return re.sub(r"=/work$", f"={self.folder}/work", word)

    def _write_secret(self, component):
        secret = chart.find(self.objects, "Secret", f"-tls-{component}")
        for name, data in secret["data"].items():
            self._write(self.folder / f"tls-{component}" / name, base64.b64decode(data))

    @staticmethod
    def _write(path, content):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


class ChartProgramsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        roots = {"dataRoots": [str(places.REPOSITORY / "deploy/demo")], "outputRoots": [str(self.results)]}
        self.release = Release(self.folder, {"worker": {"slots": 2}, "jobs": {**roots, "keepFinishedDays": 7},
                                             "coordinator": {"backupFolder": "/var/lib/regroup/copies"}})
        self.make_tokens()

    def make_tokens(self):
        """Creates tokens with the commands of the chart's README.md."""
        commands = re.findall(r"^    (regroup-coordinator token add .*)$", (chart.FOLDER / "README.md").read_text(), re.MULTILINE)
        for command in commands:
            command = command.replace("RELEASE", "demo")
            subprocess.run(["bash", "-c", command], check=True, cwd=self.folder / "auth",
                           env={"PATH": f"{places.PROGRAMS}:/usr/bin:/bin"})
        self.assertLessEqual({"tokens", "worker", "operator"}, {path.name for path in (self.folder / "auth").iterdir()})

    def start(self, name, kind, object_name, component, *more):
        container = self.release.container(kind, object_name)
        with open(self.folder / f"{name}.log", "ab") as log:
            process = processes.start([*self.release.command(container, component), *more], stdout=log, stderr=log,
                                      env=self.release.environment(container, component) if "env" in container
                                      else {"PATH": f"{places.PROGRAMS}:/usr/bin:/bin"})
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return process

    def start_coordinator(self):
        port_file = self.folder / "port"
        process = self.start("coordinator", "StatefulSet", "-coordinator", "coordinator", "--port-file", port_file)
        self.release.ports = [self.wait_for_port(process, "coordinator", port_file)]

    def wait_for_port(self, process, name, port_file):
        def port():
            self.assertIsNone(process.poll(), (self.folder / f"{name}.log").read_text())
            return port_file.exists() and int(port_file.read_text() or 0)
        return processes.wait_until(port, "the coordinator's port", patience_s=60)

    def script(self, name):
        container = self.release.container("StatefulSet", "-worker")
        hook = container["lifecycle"][name]["exec"]["command"]
        return subprocess.run([self.release._here(word, "worker") for word in hook], timeout=120, text=True,
                              env=self.release.environment(container, "worker"), capture_output=True)

    def helm_test(self):
        """Runs the command of `helm test`."""
        container = self.release.container("Pod", "-test")
        return subprocess.run(container["command"], env=self.release.environment(container, "client"),
                              capture_output=True, text=True, timeout=60)

    def state_of_worker(self):
        lines = self.helm_test().stderr.splitlines()
        return next((line.split()[1] for line in lines if line.startswith(POD)), None)

    def wait_for_state(self, state):
        processes.wait_until(lambda: self.state_of_worker() == state, f"a {state} worker", patience_s=60, pause_s=0.2)

    def test_the_release_runs_and_its_hooks_drain_and_undrain(self):
        self.start_coordinator()
        self.assertNotEqual(self.helm_test().returncode, 0, "there is no worker yet")
        self.start("worker", "StatefulSet", "-worker", "worker")
        self.wait_for_state("ready")
        self.assertEqual(self.helm_test().returncode, 0)
        self.assertEqual(self.script("preStop").returncode, 0)
        self.wait_for_state("draining")
        self.assertEqual(self.script("postStart").returncode, 0)
        self.wait_for_state("ready")

    def regroup(self, *arguments):
        """Runs the command line as in the test pod."""
        container = self.release.container("Pod", "-test")
        return subprocess.run([places.PROGRAMS / "regroup", *map(str, arguments)], text=True, timeout=60,
                              env=self.release.environment(container, "client"), capture_output=True)

    def test_what_the_values_confine_is_confined(self):
        self.start_coordinator()
        for change in ({"source": {"checkpoint": str(self.folder / "model")}},
                       {"output": {"checkpoint": str(self.folder / "outside")}}):
            key, value = next(iter(change.items()))
            done = self.regroup("submit", self.write_job({**job_file.small_job(self.output), **change}))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(f"{key}.checkpoint", done.stderr)
            self.assertIn(value["checkpoint"], done.stderr)
        self.assertEqual(self.regroup("submit", self.write_job(job_file.small_job(self.output))).returncode, 0)
        # Run the command of the operations guide in the coordinator's pod.
        environment = {**self.release.environment(self.release.container("Pod", "-test"), "client")}
        done = subprocess.run([places.PROGRAMS / "regroup-coordinator", "backup", "--name", "monday.db"], env=environment,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((self.folder / "state/copies/monday.db").exists())

    def test_a_drained_worker_finishes_what_it_runs_before_its_pod_goes(self):
        self.start_coordinator()
        self.start("worker", "StatefulSet", "-worker", "worker")
        self.wait_for_state("ready")
        submitted = self.regroup("submit", "--json", self.write_job(job_file.small_job(self.output)))
        self.assertEqual(submitted.returncode, 0, submitted.stderr)
        job = json.loads(submitted.stdout)["name"].removeprefix("jobs/")
        processes.wait_until(lambda: processes.trainers_of(self.folder, "finetune"), "the training", patience_s=120)
        self.assertEqual(self.script("preStop").returncode, 0)
        self.assertEqual(processes.trainers_of(self.folder, ""), [])
        tasks = {task["name"].split("/")[-1]: task for task in json.loads(self.regroup("get", job, "--json").stdout)["tasks"]}
        self.assertEqual((tasks["finetune"]["state"], tasks["finetune"]["epoch"]), ("TASK_STATE_SUCCEEDED", "1"))
        self.assertEqual(tasks["export"]["state"], "TASK_STATE_READY")

    def test_two_coordinators_on_postgresql_and_a_worker_that_follows_the_leader(self):
        database = postgres.Postgres()
        self.addCleanup(database.stop)
        values = {"store": {"postgresql": {"enabled": True, "existingSecret": "regroup-database"}}}
        self.release = Release(self.folder, values)
        (self.folder / "store").mkdir()
        (self.folder / "store/url").write_text(database.url)
        coordinators = []
        for index in range(2):
            port_file = self.folder / f"port-{index}"
            coordinators.append(self.start(f"coordinator-{index}", "StatefulSet", "-coordinator", "coordinator",
                                           "--port-file", port_file, "--metrics-port-file", f"{port_file}-of-metrics"))
            self.release.ports.append(self.wait_for_port(coordinators[-1], f"coordinator-{index}", port_file))
        self.start("worker", "StatefulSet", "-worker", "worker")
        self.wait_for_state("ready")
        # The coordinator that was started first leads.
        self.assertEqual([self.is_leader(index) for index in range(2)], [1, 0])
        processes.kill_now(coordinators[0])
        processes.wait_until(lambda: self.state_of_worker() == "ready", "the second coordinator", 60, 0.2)
        self.assertIn('"message":"leads","fencing":"2"', (self.folder / "coordinator-1.log").read_text())
        self.assertEqual(self.is_leader(1), 1)

    def test_a_worker_identifies_itself_by_its_service_account(self):
        values = chart.read_values(chart.FOLDER / "ci/jwt-values.yaml")
        values["worker"]["drainOnStop"] = True
        self.release = Release(self.folder, values)
        key = jwt_issuer.Key("cluster")
        claims = {"iss": values["auth"]["jwt"]["issuer"]}
        mine = key.sign({**jwt_issuer.service_account("ml", "demo-regroup-worker", POD), **claims})
        anothers = key.sign({**jwt_issuer.service_account("ml", "demo-regroup-worker", "demo-regroup-worker-1"), **claims})
        roles = chart.find(self.release.objects, "ConfigMap", "-jwt-roles")["data"]["roles.yaml"]
        for path, content in {"jwt-keys/keys.json": jwt_issuer.key_set(key), "jwt-roles/roles.yaml": roles,
                              "identity/token": anothers}.items():
            Release._write(self.folder / path, content.encode())
        self.start_coordinator()
        self.start("worker", "StatefulSet", "-worker", "worker")
        processes.wait_until(lambda: "is for worker demo-regroup-worker-1" in (self.folder / "worker.log").read_text(),
                             "a refusal of the token of another pod", 60, 0.2)
        self.assertIsNone(self.state_of_worker())
        # The kubelet replaces the token.
        Release._write(self.folder / "identity/token", mine.encode())
        self.wait_for_state("ready")

    def test_quotas_and_webhooks_of_the_values_hold(self):
        receiver = Receiver()
        self.addCleanup(receiver.stop)
        self.release = Release(self.folder, {"coordinator": {"quotas": {"*": {"jobs": 1}}, "webhooksSecret": "hooks",
                                                             "preempt": True}})
        hook = {"name": "pipeline", "url": receiver.url, "secret_file": str(self.folder / "webhooks/pipeline.secret")}
        quotas = chart.find(self.release.objects, "ConfigMap", "-quotas")["data"]["quotas.yaml"]
        for path, content in {"quotas/quotas.yaml": quotas, "webhooks/webhooks.yaml": json.dumps({"webhooks": [hook]}),
                              "webhooks/pipeline.secret": SECRET}.items():
            Release._write(self.folder / path, content.encode())
        self.start_coordinator()
        submitted = self.regroup("submit", "--json", self.write_job(job_file.small_job(self.output)))
        self.assertEqual(submitted.returncode, 0, submitted.stderr)
        refused = self.regroup("submit", self.write_job(job_file.small_job(self.results / "second")))
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertIn("quota", refused.stderr)
        job = json.loads(submitted.stdout)["name"]
        self.assertEqual(self.regroup("cancel", job.removeprefix("jobs/")).returncode, 0)
        processes.wait_until(receiver.accepted, "an event", patience_s=60, pause_s=0.2)
        [[event]] = receiver.accepted().values()
        self.assertEqual((event["type"], event["data"]["name"]), ("job.cancelled", job))

    def is_leader(self, index):
        """1 if the coordinator tells Prometheus that it leads, else 0."""
        port = (self.folder / f"port-{index}-of-metrics").read_text().strip()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return int(re.search(r"^regroup_is_leader (\d)$", answer.read().decode(), re.MULTILINE)[1])

    def test_certificates_of_another_release_are_not_let_in(self):
        self.start_coordinator()
        self.start("worker", "StatefulSet", "-worker", "worker")
        self.wait_for_state("ready")
        (self.folder / "other").mkdir()
        other = Release(self.folder / "other", {})
        container = self.release.container("Pod", "-test")
        environment = self.release.environment(container, "client")
        for name, value in environment.items():
            if name.startswith("REGROUP_TLS"):
                environment[name] = value.replace(str(self.folder), str(other.folder))
        done = subprocess.run([places.PROGRAMS / "regroup", "workers"], env=environment, capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 3, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
