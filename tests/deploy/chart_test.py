#!/usr/bin/env python3
"""Checks the chart: lint, schema, every rendering valid for two versions of Kubernetes, and the promised policies."""

import re
import shlex
import subprocess
import sys
import unittest

import kubernetes_validate
import yaml
from helm_python import HelmError

import chart
import foreign_schemas
import monitoring_files

KUBERNETES = ("1.27", "1.34")
# Fields that Kubernetes refuses to change in an existing object.
IMMUTABLE = {
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"),
    "Service": ("clusterIP",),
    "PersistentVolumeClaim": ("accessModes", "storageClassName", "volumeName", "selector"),
}
# Fields that choose pods. After a change no object would manage the old pods.
CHOOSES = {"StatefulSet": "selector", "Service": "selector", "PodDisruptionBudget": "selector",
           "NetworkPolicy": "podSelector"}


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
                if thing["kind"] in foreign_schemas.KINDS:
                    foreign += 1
                    with self.subTest(f"{name} {thing['kind']} {thing['metadata']['name']}"):
                        foreign_schemas.validate(thing)
                    continue
                for version in KUBERNETES:
                    with self.subTest(f"{name} {thing['kind']} {thing['metadata']['name']} {version}"):
                        kubernetes_validate.validate(thing, version, strict=True)
                        checked += 1
        self.assertGreater(foreign, 2 * len(foreign_schemas.KINDS))
        print(f"{len(chart.CI_VALUES)} value files, {checked} validations against Kubernetes {' and '.join(KUBERNETES)}, "
              f"{foreign} objects of other projects")

    def test_an_invalid_object_is_noticed(self):
        broken = chart.find(chart.manifests({}), "StatefulSet", "-worker")
        broken["spec"]["replicaz"] = 3
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, KUBERNETES[0], strict=True)
        objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/production-values.yaml"))
        for kind in foreign_schemas.KINDS:
            broken = next(thing for thing in objects if thing["kind"] == kind)
            broken["spec"]["renewBefor"] = "720h"
            with self.assertRaises(foreign_schemas.ValidationError):
                foreign_schemas.validate(broken)

    def test_autoscaling_and_kueue_reach_the_worker(self):
        objects = chart.manifests({"worker": {"slots": 4, "kueue": {"queueName": "research"}, "autoscaling": {
            "enabled": True, "minReplicas": 2, "maxReplicas": 5, "prometheusAddress": "http://prometheus:9090"}}})
        worker = chart.find(objects, "StatefulSet", "-worker")
        self.assertEqual(worker["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "research")
        # Helm would set the number back at each upgrade.
        self.assertNotIn("replicas", worker["spec"])
        [scaled] = [thing for thing in objects if thing["kind"] == "ScaledObject"]
        self.assertEqual(scaled["spec"]["scaleTargetRef"]["name"], worker["metadata"]["name"])
        self.assertEqual((scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]), (2, 5))
        [trigger] = scaled["spec"]["triggers"]
        self.assertEqual(trigger["metadata"]["threshold"], "4")
        metrics = (chart.FOLDER.parents[1] / "services/common/metrics/README.md").read_text()
        for name in re.findall(r"regroup_\w+", trigger["metadata"]["query"]):
            self.assertIn(f"| `{name}` |", metrics)
        plain = chart.manifests({})
        self.assertEqual(chart.find(plain, "StatefulSet", "-worker")["spec"]["replicas"], 2)
        self.assertNotIn("ScaledObject", {thing["kind"] for thing in plain})

    def test_names_are_unique_and_short_enough_for_the_longest_release(self):
        objects = chart.manifests({}, name="r" * 53)
        names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
        self.assertEqual(len(names), len(set(names)))
        for kind, name in names:
            # A pod of a StatefulSet gets a number, and its revision label ten letters more.
            self.assertLessEqual(len(name), 52 if kind == "StatefulSet" else 63, name)

    def test_an_upgrade_to_tls_of_cert_manager_postgresql_and_monitoring_changes_no_selector(self):
        before = {(thing["kind"], thing["metadata"]["name"]): thing for thing in chart.manifests({})}
        values = {"tls": {"mode": "certManager", "certManager": {"issuer": {"name": "internal"}}},
                  "store": {"postgresql": {"enabled": True, "existingSecret": "regroup-database"}},
                  "monitoring": {part: {"enabled": True} for part in ("serviceMonitor", "prometheusRule", "dashboards")}}
        after = {(thing["kind"], thing["metadata"]["name"]): thing for thing in chart.manifests(values, is_upgrade=True)}
        # cert-manager writes the secrets that Helm's certificates were in.
        gone = {name for kind, name in before.keys() - after.keys() if kind == "Secret" or self.fail(f"{kind} {name} is gone")}
        self.assertEqual(gone, {thing["spec"]["secretName"] for (kind, _), thing in after.items() if kind == "Certificate"})
        self.assertEqual({kind for kind, _ in after.keys() - before.keys()},
                         {"Certificate", "ServiceMonitor", "PrometheusRule", "ConfigMap"})
        compared = 0
        for key in before.keys() & after.keys():
            for part in {*IMMUTABLE.get(key[0], ()), CHOOSES.get(key[0])} - {None}:
                self.assertEqual(after[key]["spec"].get(part), before[key]["spec"].get(part), f"{key} {part}")
                compared += part == CHOOSES.get(key[0])
        self.assertEqual(compared, sum(kind in CHOOSES for kind, _ in before))
        print(f"an upgrade keeps {compared} selectors and {len(before) - len(gone)} objects, and adds {len(after.keys() - before.keys())}")

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
                    wanted = dict(selector.get("matchLabels", selector))
                    # Kubernetes gives every pod of a StatefulSet this label.
                    wanted.pop("statefulset.kubernetes.io/pod-name", None)
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
        self.assert_refused({"jobs": {"dataRoots": ["models"]}}, "/jobs/dataRoots/0")
        self.assert_refused({"worker": {"logLevel": "loud"}}, "/worker/logLevel")
        self.assert_refused({"worker": {"kueue": {"queueName": "Not A Label"}}}, "/worker/kueue/queueName")

    def test_what_a_mode_needs_is_named(self):
        self.assert_refused({"tls": {"mode": "existingSecrets"}}, "tls.existingSecrets.")
        self.assert_refused({"tls": {"mode": "certManager"}}, "tls.certManager.issuer.name")
        self.assert_refused({"store": {"postgresql": {"enabled": True}}}, "store.postgresql.existingSecret")
        self.assert_refused({"auth": {"jwt": {"enabled": True, "issuer": "https://issuer"}}}, "auth.jwt.")
        self.assert_refused({"auth": {"jwt": {"enabled": True, "issuer": "https://issuer", "keysConfigMap": "keys"}}},
                            "auth.jwt.rules")
        self.assert_refused({"auth": {"jwt": {"enabled": True, "workers": True, "keysConfigMap": "keys"}}}, "auth.jwt.issuer")
        self.assert_refused({"auth": {"jwt": {"enabled": True, "workers": True, "issuer": "https://issuer"}}},
                            "auth.jwt.keysConfigMap")
        self.assert_refused({"auth": {"jwt": {"enabled": True, "workers": True, "issuer": "https://issuer",
                                              "keysUrl": "http://issuer/keys"}}}, "keysUrl")
        self.assert_refused({"worker": {"autoscaling": {"enabled": True}}}, "worker.autoscaling.prometheusAddress")
        self.assert_refused({"worker": {"autoscaling": {"enabled": True, "minReplicas": 9, "prometheusAddress": "http://p"}}},
                            "worker.autoscaling.minReplicas")
        self.assert_refused({"coordinator": {"leaseSeconds": 3}}, "coordinator.heartbeatSeconds")
        self.assert_refused({"coordinator": {"leaseSeconds": 5}, "store": {"postgresql": {
            "enabled": True, "existingSecret": "database", "leaderLeaseSeconds": 5}}}, "store.postgresql.leaderLeaseSeconds")

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


class DocumentationTest(unittest.TestCase):
    README = (chart.FOLDER / "README.md").read_text()

    def commands(self, program):
        return [shlex.split(line) for line in re.findall(rf"^    ({program} .*)$", self.README, re.MULTILINE)]

    def test_the_values_that_its_commands_set_render(self):
        commands = [command for command in self.commands("helm") if "--set" in command]
        self.assertGreater(len(commands), 2)
        for command in commands:
            self.assertEqual(command[2:4], ["RELEASE", "helm/regroup"])
            # Without this, an upgrade would go back to the defaults of everything else.
            self.assertIn("install" if command[1] == "install" else "--reuse-values", command)
            values = {}
            for word, setting in zip(command, command[1:]):
                if word == "--set":
                    set_value(values, *setting.split("=", 1))
            self.assertTrue(chart.manifests(values, name="release"))

    def test_its_example_of_another_projects_kind_is_valid_and_leads_to_the_service(self):
        [text] = re.findall(r"```yaml\n(.*?)```", self.README, re.DOTALL)
        route = yaml.safe_load(text)
        foreign_schemas.validate(route)
        [backend] = route["spec"]["rules"][0]["backendRefs"]
        services = [thing for thing in chart.manifests({}, name="release") if thing["kind"] == "Service"]
        ports = {thing["metadata"]["name"]: [port["port"] for port in thing["spec"].get("ports", [])] for thing in services}
        self.assertIn(backend["port"], ports[backend["name"].replace("RELEASE", "release")])

    def test_its_secrets_have_the_keys_that_the_pods_mount(self):
        made = {command[4]: {word.split("=")[1] for word in command if word.startswith("--from-")}
                for command in self.commands("kubectl create secret generic")}
        made = {name: {key.split("=")[0] for key in keys} for name, keys in made.items()}
        values = {"store": {"postgresql": {"enabled": True, "existingSecret": "regroup-database"}},
                  "coordinator": {"webhooksSecret": "regroup-webhooks"}}
        mounted, whole = {}, set()
        for _, pod in chart.pod_templates(chart.manifests(values, name="RELEASE".lower())):
            for secret in (volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume):
                name = secret["secretName"].replace("release", "RELEASE")
                if "items" in secret:
                    mounted.setdefault(name, set()).update(item["key"] for item in secret["items"])
                else:
                    whole.add(name)
        self.assertIn("webhooks.yaml", made["regroup-webhooks"])
        self.assertIn("regroup-webhooks", whole)
        self.assertEqual({name: keys for name, keys in made.items() if name not in whole}, mounted)

    def test_the_notes_say_the_same_as_the_readme(self):
        for values in map(chart.read_values, chart.CI_VALUES):
            notes = next(text for path, text in chart.render(values, name="release").items() if path.endswith("NOTES.txt"))
            name = values.get("fullnameOverride") or "release-regroup"
            for command in self.commands("regroup-coordinator token add"):
                self.assertIn(" ".join(command).replace("RELEASE-regroup", name), notes)
            self.assertNotIn("<no value>", notes)
            self.assertNotIn("\n\n\n", notes)
        outside = chart.render({"coordinator": {"service": {"type": "LoadBalancer"}}}, name="release")
        self.assertIn("The network policy blocks all clients outside the cluster", next(text for path, text in outside.items() if path.endswith("NOTES.txt")))


def set_value(values, path, text):
    """Sets a value as Helm's --set does: braces hold a list."""
    *folders, last = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    if text.startswith("{"):
        values[last] = text.strip("{}").split(",")
    else:
        values[last] = yaml.safe_load(text)


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
            # A worker with a token of its service account needs no other.
            identity = {volume["name"]: volume["projected"] for volume in pod["volumes"] if "projected" in volume}
            self.assertLessEqual({"tls"} if identity else {"tls", "auth"}, set(secrets))
            secrets |= identity
            for secret in secrets.values():
                self.assertEqual(secret["defaultMode"], 0o440)
            for mount in (mount for container in pod["containers"] for mount in container["volumeMounts"]):
                self.assertEqual(mount.get("readOnly", False) or mount["name"] not in secrets, True)

    def test_a_worker_with_a_token_of_its_service_account_holds_no_other(self):
        objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/jwt-values.yaml"))
        pod = chart.find(objects, "StatefulSet", "-worker")["spec"]["template"]["spec"]
        [identity] = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "identity"]
        self.assertEqual(identity["sources"], [{"serviceAccountToken": {"audience": "regroup", "expirationSeconds": 3600,
                                                                        "path": "token"}}])
        self.assertNotIn("auth", [volume["name"] for volume in pod["volumes"]])
        self.assertIn("--token-file=/etc/regroup/identity/token", pod["containers"][0]["args"])
        rules = yaml.safe_load(chart.find(objects, "ConfigMap", "-jwt-roles")["data"]["roles.yaml"])["rules"]
        self.assertEqual([rule["value"].split(":")[-1] for rule in rules], [pod["serviceAccountName"], "nightly"])

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

    def test_with_postgresql_clients_outside_get_an_address_for_each_coordinator(self):
        values = {"store": {"postgresql": {"enabled": True, "existingSecret": "database", "replicas": 3}},
                  "coordinator": {"service": {"type": "LoadBalancer"}}}
        objects = chart.manifests(values)
        pods = chart.find(objects, "StatefulSet", "-coordinator")
        outside = [thing for thing in objects if thing["kind"] == "Service" and thing["spec"].get("type") == "LoadBalancer"]
        names = [thing["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] for thing in outside]
        self.assertEqual(names, [f"{pods['metadata']['name']}-{index}" for index in range(pods["spec"]["replicas"])])
        for thing in outside:
            self.assertLessEqual(pods["spec"]["selector"]["matchLabels"].items(), thing["spec"]["selector"].items())
        # The one that leads to any coordinator cannot be reached from outside.
        self.assertEqual(chart.find(objects, "Service", "-coordinator")["spec"]["type"], "ClusterIP")
        alone = chart.manifests({"coordinator": {"service": {"type": "LoadBalancer"}}})
        self.assertEqual([thing["metadata"]["name"] for thing in alone if thing["kind"] == "Service" and
                          thing["spec"].get("type") == "LoadBalancer"], ["demo-regroup-coordinator"])

    def test_readiness_does_not_depend_on_who_leads(self):
        """Kubernetes updates pods of a StatefulSet one by one and waits until each is ready."""
        values = chart.read_values(chart.FOLDER / "ci/postgresql-values.yaml")
        coordinator = chart.find(chart.manifests(values), "StatefulSet", "-coordinator")["spec"]["template"]["spec"]
        self.assertEqual(coordinator["containers"][0]["readinessProbe"]["tcpSocket"], {"port": "grpc"})

    def test_with_postgresql_the_coordinator_may_look_up_names_and_call_what_the_values_allow(self):
        objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/postgresql-values.yaml"))
        egress = chart.find(objects, "NetworkPolicy", "-coordinator")["spec"]["egress"]
        self.assertEqual([rule["ports"][0]["port"] for rule in egress], [53, 5432])
        alone = chart.find(chart.manifests({}), "NetworkPolicy", "-coordinator")["spec"]["egress"]
        self.assertEqual(alone, [])

    def test_with_webhooks_the_coordinator_may_look_up_names(self):
        objects = chart.manifests({"coordinator": {"webhooksSecret": "regroup-webhooks"}})
        [names] = chart.find(objects, "NetworkPolicy", "-coordinator")["spec"]["egress"]
        self.assertEqual([port["port"] for port in names["ports"]], [53, 53])

    def test_keys_of_a_url_need_no_config_map(self):
        jwt = {"enabled": True, "workers": True, "issuer": "https://issuer", "keysUrl": "https://issuer/keys"}
        objects = chart.manifests({"auth": {"jwt": jwt}})
        pod = chart.find(objects, "StatefulSet", "-coordinator")["spec"]["template"]["spec"]
        self.assertIn("--jwt-keys=https://issuer/keys", pod["containers"][0]["args"])
        self.assertNotIn("jwt-keys", [volume["name"] for volume in pod["volumes"]])
        self.assertNotIn("jwt-keys", [mount["name"] for mount in pod["containers"][0]["volumeMounts"]])
        [names] = chart.find(objects, "NetworkPolicy", "-coordinator")["spec"]["egress"]
        self.assertEqual([port["port"] for port in names["ports"]], [53, 53])

    def test_both_programs_are_told_where_jobs_may_read_and_write(self):
        objects = chart.manifests({"jobs": {"dataRoots": ["/models", "/data"], "outputRoots": ["/models"]}})
        for name in ("-coordinator", "-worker"):
            args = chart.find(objects, "StatefulSet", name)["spec"]["template"]["spec"]["containers"][0]["args"]
            self.assertEqual([word for word in args if "-root=" in word],
                             ["--data-root=/models", "--data-root=/data", "--output-root=/models"])

    def test_the_coordinator_sees_models_and_texts_and_cannot_change_them(self):
        objects = chart.manifests(chart.read_values(chart.FOLDER / "ci/existing-values.yaml"))
        mounts = {}
        for name in ("-coordinator", "-worker"):
            pod = chart.find(objects, "StatefulSet", name)["spec"]["template"]["spec"]
            mounts[name] = {mount["mountPath"]: (mount["readOnly"], mount.get("subPath"))
                            for mount in pod["containers"][0]["volumeMounts"] if mount["name"].startswith("data-")}
        self.assertEqual(mounts["-worker"], {"/models": (False, None), "/data": (True, "english")})
        self.assertEqual(mounts["-coordinator"], {"/models": (True, None), "/data": (True, "english")})
        away = chart.manifests({**chart.read_values(chart.FOLDER / "ci/existing-values.yaml"), "coordinator": {"mountData": False}})
        pod = chart.find(away, "StatefulSet", "-coordinator")["spec"]["template"]["spec"]
        self.assertFalse([volume for volume in pod["volumes"] if volume["name"].startswith("data-")])

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
