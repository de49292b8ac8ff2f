#!/usr/bin/env python3
"""The chart: lint, schema, every rendering valid for two versions of Kubernetes, and the policies it promises."""

import subprocess
import sys
import unittest

import kubernetes_validate
import yaml
from helm_python import HelmError

import chart
import monitoring_files

KUBERNETES = ("1.27", "1.34")
# Kinds of other projects, of which kubernetes-validate has no schemas: their required keys.
FOREIGN = {
    "Certificate": ("secretName", "issuerRef", "dnsNames"),
    "ServiceMonitor": ("selector", "endpoints"),
    "PrometheusRule": ("groups",),
}
IMMUTABLE = ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy")


def every_rendering():
    for path in chart.CI_VALUES:
        yield path.stem, chart.manifests(chart.read_values(path))


class RenderingTest(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for path in chart.CI_VALUES:
            report = chart.lint(chart.read_values(path))
            self.assertEqual(report["errors"], [], path.name)
            findings = [message for message in report["messages"] if message["severity"] > 1]
            self.assertEqual(findings, [], path.name)

    def test_every_object_is_valid_in_two_versions_of_kubernetes(self):
        checked = foreign = 0
        for name, objects in every_rendering():
            for thing in objects:
                if thing["kind"] in FOREIGN:
                    foreign += 1
                    for key in FOREIGN[thing["kind"]]:
                        self.assertIn(key, thing["spec"])
                    continue
                for version in KUBERNETES:
                    with self.subTest(f"{name} {thing['kind']} {thing['metadata']['name']} {version}"):
                        kubernetes_validate.validate(thing, version, strict=True)
                        checked += 1
        print(f"{len(chart.CI_VALUES)} value files, {checked} validations against Kubernetes {' and '.join(KUBERNETES)}, "
              f"{foreign} objects of other projects")

    def test_an_invalid_object_is_noticed(self):
        broken = chart.find(chart.manifests({}), "StatefulSet", "-worker")
        broken["spec"]["replicaz"] = 3
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, KUBERNETES[0], strict=True)

    def test_names_are_unique_and_short_enough_for_the_longest_release(self):
        objects = chart.manifests({}, name="r" * 53)
        names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
        self.assertEqual(len(names), len(set(names)))
        for kind, name in names:
            # A pod of a StatefulSet gets a number, and its revision label ten letters more.
            self.assertLessEqual(len(name), 52 if kind == "StatefulSet" else 63, name)

    def test_an_upgrade_changes_nothing_that_kubernetes_does_not_let_change(self):
        before = {(thing["kind"], thing["metadata"]["name"]): thing["spec"] for thing in chart.manifests({})
                  if "spec" in thing}
        after = chart.manifests(chart.read_values(chart.FOLDER / "ci/postgresql-values.yaml"), is_upgrade=True)
        sets = [thing for thing in after if thing["kind"] == "StatefulSet"]
        self.assertEqual(len(sets), 2)
        for thing in sets:
            for key in IMMUTABLE:
                self.assertEqual(thing["spec"].get(key), before["StatefulSet", thing["metadata"]["name"]].get(key), key)
        for thing in after:
            if thing["kind"] == "Service":
                self.assertEqual(thing["spec"]["selector"], before["Service", thing["metadata"]["name"]]["selector"])

    def test_selectors_find_the_pods(self):
        for _, objects in every_rendering():
            pods = {name: pod["metadata"]["labels"] for name, pod in chart.pod_templates(objects)}
            for thing in objects:
                selector = thing.get("spec", {}).get("selector", {})
                if thing["kind"] == "ServiceMonitor":
                    services = [other for other in objects if other["kind"] == "Service"
                                and selector["matchLabels"].items() <= other["metadata"]["labels"].items()]
                    self.assertEqual([service["spec"]["ports"][0]["name"] for service in services], ["metrics"])
                elif selector:
                    wanted = selector.get("matchLabels", selector)
                    found = [name for name, labels in pods.items() if wanted.items() <= labels.items()]
                    self.assertEqual(len(found), 1, thing["metadata"]["name"])


class SchemaTest(unittest.TestCase):
    def assert_refused(self, values, *words):
        with self.assertRaises(HelmError) as caught:
            chart.render(values)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_a_typo_is_refused_with_its_path(self):
        self.assert_refused({"worker": {"replica": 3}}, "/worker", "replica")
        self.assert_refused({"wroker": {}}, "wroker")
        self.assert_refused({"monitoring": {"serviceMonitor": {"enable": True}}}, "/monitoring/serviceMonitor", "enable")

    def test_wrong_values_are_refused_with_their_path(self):
        self.assert_refused({"worker": {"slots": "two"}}, "/worker/slots")
        self.assert_refused({"tls": {"mode": "none"}}, "/tls/mode")
        self.assert_refused({"work": {"size": "100 GB"}}, "/work/size")
        self.assert_refused({"data": [{"name": "models"}]}, "/data/0", "claim")
        self.assert_refused({"image": {"digest": "latest"}}, "/image/digest")

    def test_what_a_mode_needs_is_named(self):
        self.assert_refused({"tls": {"mode": "existingSecrets"}}, "tls.existingSecrets.")
        self.assert_refused({"tls": {"mode": "certManager"}}, "tls.certManager.issuer.name")
        self.assert_refused({"store": {"postgresql": {"enabled": True}}}, "store.postgresql.existingSecret")
        self.assert_refused({"coordinator": {"leaseSeconds": 3}}, "coordinator.heartbeatSeconds")

    def test_every_object_in_the_schema_is_closed_and_every_default_is_in_it(self):
        with chart.load() as loaded:
            schema = loaded.schema
            loaded.validate_schema({})
        self.assert_closed(schema, yaml.safe_load((chart.FOLDER / "values.yaml").read_text()), "")

    def assert_closed(self, schema, values, path):
        if "properties" not in schema:
            return
        self.assertIs(schema.get("additionalProperties"), False, path)
        self.assertLessEqual(set(values), set(schema["properties"]), path)
        for key, value in values.items():
            if isinstance(value, dict):
                self.assert_closed(schema["properties"][key], value, f"{path}/{key}")

    def test_the_readme_is_made_from_the_values(self):
        done = subprocess.run([sys.executable, chart.FOLDER.parent / "make_readme.py", "--check"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


class PolicyTest(unittest.TestCase):
    def each_pod(self):
        for values, objects in every_rendering():
            for name, pod in chart.pod_templates(objects):
                with self.subTest(f"{values}: {name}"):
                    yield pod["spec"]

    def each_container(self):
        for pod in self.each_pod():
            for container in pod["containers"] + pod.get("initContainers", []):
                yield container

    def test_no_pod_is_root_and_none_talks_to_kubernetes(self):
        pods = 0
        for pod in self.each_pod():
            security = pod["securityContext"]
            self.assertIs(security["runAsNonRoot"], True)
            self.assertGreater(security["runAsUser"], 0)
            self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertIs(pod["automountServiceAccountToken"], False)
            for key in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(key, pod)
            self.assertFalse([volume for volume in pod["volumes"] if "hostPath" in volume])
            pods += 1
        self.assertEqual(pods, 3 * len(chart.CI_VALUES))

    def test_containers_have_no_capability_and_cannot_write_their_root(self):
        for container in self.each_container():
            self.assertEqual(container["securityContext"], {
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "privileged": False,
                "readOnlyRootFilesystem": True, "runAsNonRoot": True})

    def test_containers_have_limits(self):
        for container in self.each_container():
            for kind in ("requests", "limits"):
                self.assertLessEqual({"cpu", "memory"}, set(container["resources"][kind]))

    def test_no_secret_is_in_an_environment_variable_or_an_argument(self):
        for container in self.each_container():
            for variable in container.get("env", []):
                self.assertNotIn("secretKeyRef", variable.get("valueFrom", {}))
            self.assertNotIn("envFrom", container)
            for argument in container.get("args", []):
                self.assertNotRegex(argument, r"^--(token|password|store-url)=")

    def test_certificates_and_tokens_are_mounted_read_only_and_not_for_everybody(self):
        for pod in self.each_pod():
            secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
            self.assertLessEqual({"tls", "auth"}, set(secrets))
            for secret in secrets.values():
                self.assertEqual(secret["defaultMode"], 0o440)
            for mount in (mount for container in pod["containers"] for mount in container["volumeMounts"]):
                self.assertEqual(mount.get("readOnly", False) or mount["name"] not in secrets, True)

    def test_mounts_and_volumes_match(self):
        for pod in self.each_pod():
            volumes = {volume["name"] for volume in pod["volumes"]} | {"state"}
            mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
            self.assertLessEqual(mounted, volumes)
            self.assertLessEqual(volumes - {"state"}, mounted)

    def test_memory_between_ranks_is_memory(self):
        for values, objects in every_rendering():
            worker = chart.find(objects, "StatefulSet", "-worker")["spec"]["template"]["spec"]
            shm = next(volume for volume in worker["volumes"] if volume["name"] == "shm")
            self.assertEqual(shm["emptyDir"]["medium"], "Memory")
            self.assertIn({"name": "shm", "mountPath": "/dev/shm"}, worker["containers"][0]["volumeMounts"])

    def test_workers_reach_each_other_and_the_coordinator_and_nothing_else(self):
        objects = chart.manifests({})
        policy = chart.find(objects, "NetworkPolicy", "-worker")["spec"]
        workers = {"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}
        self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(policy["ingress"], [{"from": [workers]}])
        self.assertEqual(policy["egress"][0], {"to": [workers]})
        self.assertEqual([port["port"] for rule in policy["egress"][1:] for port in rule["ports"]], [7447, 53, 53])
        for pod in chart.pod_templates(objects):
            if pod[0].endswith("-worker"):
                self.assertLessEqual(workers["podSelector"]["matchLabels"].items(), pod[1]["metadata"]["labels"].items())

    def test_nobody_reads_metrics_who_was_not_named(self):
        policy = chart.find(chart.manifests({}), "NetworkPolicy", "-coordinator")["spec"]
        self.assertEqual([port["port"] for rule in policy["ingress"] for port in rule["ports"]], [7447])
        self.assertEqual(policy["egress"], [])
        production = chart.manifests(chart.read_values(chart.FOLDER / "ci/production-values.yaml"))
        ports = [port["port"] for rule in chart.find(production, "NetworkPolicy", "-coordinator")["spec"]["ingress"]
                 for port in rule["ports"]]
        self.assertEqual(ports, [7447, 9447])

    def test_gpus_are_asked_for_and_used_together(self):
        worker = chart.find(chart.manifests({"worker": {"gpus": 4, "slots": 4}}), "StatefulSet", "-worker")
        container = worker["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], 4)
        self.assertIn("--device=cuda", container["args"])
        container = chart.find(chart.manifests({}), "StatefulSet", "-worker")["spec"]["template"]["spec"]["containers"][0]
        self.assertIn("--device=cpu", container["args"])
        self.assertNotIn("nvidia.com/gpu", container["resources"]["limits"])

    def test_sqlite_has_one_coordinator_and_postgresql_two(self):
        self.assertEqual(chart.find(chart.manifests({}), "StatefulSet", "-coordinator")["spec"]["replicas"], 1)
        values = chart.read_values(chart.FOLDER / "ci/postgresql-values.yaml")
        coordinator = chart.find(chart.manifests(values), "StatefulSet", "-coordinator")["spec"]
        self.assertEqual(coordinator["replicas"], 2)
        self.assertIn("--store-url-file=/etc/regroup/store/url", coordinator["template"]["spec"]["containers"][0]["args"])

    def test_with_postgresql_clients_call_a_name_that_every_certificate_holds(self):
        objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/postgresql-values.yaml"))
        headless = "demo-regroup-coordinator-headless.ml.svc"
        args = chart.find(objects, "StatefulSet", "-worker")["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertIn(f"--coordinator=dns:///{headless}:7447", args)
        coordinator = chart.find(objects, "StatefulSet", "-coordinator")["spec"]["template"]["spec"]["containers"][0]
        self.assertIn(f"--advertise=$(POD_NAME).{headless}:7447", coordinator["args"])
        self.assertEqual([entry["name"] for entry in coordinator["env"]], ["POD_NAME"])
        names = chart.find(objects, "Certificate", "-coordinator")["spec"]["dnsNames"]
        self.assertLessEqual({headless, f"*.{headless}"}, set(names))
        service = chart.find(objects, "Service", "-coordinator-headless")["spec"]
        self.assertEqual((service["clusterIP"], service["publishNotReadyAddresses"]), ("None", True))

    def test_with_postgresql_the_coordinator_may_look_up_names_and_call_what_the_values_allow(self):
        objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/postgresql-values.yaml"))
        egress = chart.find(objects, "NetworkPolicy", "-coordinator")["spec"]["egress"]
        self.assertEqual([rule["ports"][0]["port"] for rule in egress], [53, 5432])
        alone = chart.find(chart.manifests({}), "NetworkPolicy", "-coordinator")["spec"]["egress"]
        self.assertEqual(alone, [])

    def test_the_shared_claim_outlives_the_release(self):
        claim = chart.find(chart.manifests({}), "PersistentVolumeClaim", "-work")
        self.assertEqual(claim["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})
        values = chart.read_values(chart.FOLDER / "ci/existing-values.yaml")
        self.assertFalse([thing for thing in chart.manifests(values) if thing["kind"] == "PersistentVolumeClaim"])


class MonitoringTest(unittest.TestCase):
    def setUp(self):
        self.objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/production-values.yaml"))

    def test_the_rules_are_those_of_deploy(self):
        rules = next(thing for thing in self.objects if thing["kind"] == "PrometheusRule")
        self.assertEqual(rules["spec"], yaml.safe_load(monitoring_files.RULES.read_text()))

    def test_the_dashboards_are_those_of_deploy(self):
        shipped = {path.name: path.read_text().strip() for path in monitoring_files.DASHBOARDS}
        maps = [thing for thing in self.objects if thing["metadata"]["labels"].get("grafana_dashboard") == "1"]
        rendered = {name.removeprefix("regroup-"): text.strip() for thing in maps for name, text in thing["data"].items()}
        self.assertEqual(rendered, shipped)

    def test_the_name_of_the_scrape_is_the_one_that_rules_select(self):
        monitor = next(thing for thing in self.objects if thing["kind"] == "ServiceMonitor")
        self.assertEqual(monitor["spec"]["endpoints"][0]["relabelings"], [{"targetLabel": "job", "replacement": "regroup"}])


if __name__ == "__main__":
    unittest.main(verbosity=2)
