#!/usr/bin/env python3
"""Evaluates every expression of rules and dashboards in a real Prometheus on a coordinator that converts a model."""

import json
import math
import os
import pathlib
import re
import shutil
import time
import unittest
import xml.etree.ElementTree

import yaml

from harness import job_file, places, processes
from harness.program_test import ProgramTest
from harness.prometheus import Prometheus
from harness.webhook_receiver import SECRET, Receiver

import dashboard_preview
import monitoring_files as files

# Panels that may be empty in a healthy cluster, and why.
EMPTY_PANELS = {
    ("regroup-fleet", "Alerts"): "no alert waits or fires",
    ("regroup-job", "Alerts of this job"): "no alert waits or fires",
    ("regroup-job", "Device utilization"): "the peak of a CPU is not known",
}


def on_screen(expression, job):
    """Returns the expression as Grafana sends it."""
    return expression.replace("$__rate_interval", "10s").replace("$__range", "5m").replace("$job_id", job)


class MonitoringLiveTest(ProgramTest):
    def setUp(self):
        super().setUp()
        receiver = Receiver()
        self.addCleanup(receiver.stop)
        (self.folder / "hook.secret").write_text(SECRET)
        (self.folder / "webhooks.yaml").write_text(json.dumps({"webhooks": [
            {"name": "pipeline", "url": receiver.url, "secret_file": str(self.folder / "hook.secret")}]}))
        self.cluster = self.start_cluster(workers=2, coordinator_arguments=["--webhooks", self.folder / "webhooks.yaml"])
        shutil.copy(files.RULES, self.folder)
        shipped = (files.DEPLOY / "prometheus/prometheus.yml").read_text()
        configuration = shipped.replace("127.0.0.1:9447", f"127.0.0.1:{self.cluster.metrics_port}")
        self.assertNotEqual(configuration, shipped)
        self.start = time.time()
        self.prometheus = Prometheus(self.folder, re.sub(r"\b15s\b", "1s", configuration))
        self.addCleanup(self.prometheus.stop)

    def convert(self):
        """Converts the demonstration's model, 8 KV heads to 2. Returns the job's id."""
        processes.wait_until(lambda: self.prometheus.query("regroup_build_info"), "the first scrape", pause_s=0.2)
        # The series of a task end with it: a training of 30 steps may lie between two scrapes, a second apart.
        job = self.cluster.submit(self.write_job(job_file.small_job(
            self.output, calibration={"sequences": 32, "sequence_length": 128, "ranks": 2},
            finetune={"steps": int(os.environ.get("REGROUP_TEST_STEPS", "200")), "batch_sequences": 4, "sequence_length": 64,
                      "evaluate_every_steps": 20,
                      "checkpoint_every_steps": 10},
            layerwise={"method": "distill", "sequences": 32, "sequence_length": 128, "layers_per_task": 2},
            evaluation=job_file.evaluation())))
        self.assert_succeeded(self.cluster.wait_for_end(job))
        time.sleep(3)
        return job

    def series(self, expression):
        """Returns the expression's series over the test, a point a second, without those that never had a number."""
        found = self.prometheus.query_range(expression, self.start, time.time(), 1)
        return [(labels, points) for labels, points in found if any(math.isfinite(value) for _, value in points)]

    def test_every_panel_and_rule_has_data(self):
        job = self.convert()
        with self.subTest("rules"):
            self.check_rules()
        with self.subTest("panels"):
            self.check_panels(job)
        with self.subTest("autoscaling"):
            self.check_autoscaling()
        self.draw_previews(job)

    def check_autoscaling(self):
        """The query of the chart's ScaledObject has one value at all times, which grew to the slots of the gang."""
        values = yaml.safe_load((places.REPOSITORY / "helm/regroup/values.yaml").read_text())
        [(_, points)] = self.series(values["worker"]["autoscaling"]["query"])
        slots = [value for _, value in points]
        self.assertGreaterEqual(max(slots), 2)
        self.assertEqual(slots[-1], 0)

    def draw_previews(self, job):
        """Draws previews into REGROUP_PREVIEW_DIR; draws them in every run, so that the code keeps working."""
        end = time.time()
        for uid, board in files.dashboards().items():
            svg = dashboard_preview.draw(board, lambda expression: self.series(on_screen(expression, job)), self.start, end)
            self.assertEqual(xml.etree.ElementTree.fromstring(svg).tag, "{http://www.w3.org/2000/svg}svg")
            if "REGROUP_PREVIEW_DIR" in os.environ:
                pathlib.Path(os.environ["REGROUP_PREVIEW_DIR"], f"{uid.removeprefix('regroup-')}.svg").write_text(svg)

    def check_rules(self):
        loaded = [rule for group in self.prometheus.get("rules")["groups"] for rule in group["rules"]]
        self.assertEqual(len(loaded), len(files.rules()))
        self.assertEqual({rule["name"]: rule["lastError"] for rule in loaded if rule.get("lastError")}, {})
        silent_records = [name for name in files.recorded() if not self.series(name)]
        self.assertEqual(silent_records, [])
        for rule in files.alerts():
            for name in files.metrics_in(rule["expr"]):
                self.assertTrue(self.series(f'{{__name__=~"{name}(_bucket|_count)?"}}'), f"{rule['alert']}: {name}")
            self.assertEqual(self.series(f'ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}'), [])
        print(f"rules: {len(loaded)}; recorded series with data: {len(files.recorded())} of {len(files.recorded())}; "
              f"alerts: {len(files.alerts())}, all silent")

    def check_panels(self, job):
        empty, shown, expressions = {}, 0, 0
        for uid, board in files.dashboards().items():
            for panel in files.panels(board):
                results = [self.series(on_screen(target["expr"], job)) for target in panel["targets"]]
                expressions += len(results)
                shown += all(results)
                if not all(results):
                    empty[uid, panel["title"]] = [target["expr"] for target, found in zip(panel["targets"], results)
                                                  if not found]
        print(f"panels: {shown + len(empty)}; with data: {shown}; empty on purpose: {sorted(empty)}; "
              f"expressions: {expressions}")
        self.assertEqual({panel: empty[panel] for panel in set(empty) - set(EMPTY_PANELS)}, {})

    def test_a_lost_worker_is_seen_by_the_alert(self):
        self.cluster.start_worker("worker-3")
        name = "worker-3"
        processes.wait_until(lambda: self.prometheus.query(f'regroup_worker_heartbeat_age_seconds{{worker="{name}"}}'),
                             name, patience_s=60, pause_s=0.2)
        processes.kill_now(self.cluster.workers[name])
        expression = next(rule["expr"] for rule in files.alerts() if rule["alert"] == "RegroupWorkerLost")
        expression = expression.replace("> 60", "> 4")
        found = processes.wait_until(lambda: self.prometheus.query(expression), expression, patience_s=60, pause_s=0.3)
        self.assertEqual([labels for labels, _ in found], [{"worker": name}])
        processes.wait_until(lambda: self.prometheus.query('regroup_workers{state="lost"} == 1'), "a lost worker",
                             patience_s=30, pause_s=0.3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
