#!/usr/bin/env python3
"""Checks rules and dashboards: they are complete and documented and read existing metrics, and each alert is tested."""

import subprocess
import unittest

import yaml

import monitoring_files as files

OPERATIONS = files.DEPLOY / "OPERATIONS.md"
# Panel types that Grafana includes; every other type is a plug-in.
CORE_PANELS = {"row", "stat", "gauge", "timeseries", "table"}
KNOWN_BESIDES = {"up", "ALERTS"}


class RulesTest(unittest.TestCase):
    def test_promtool_accepts_configuration_and_rules_and_their_tests_pass(self):
        for command in (["check", "config", files.DEPLOY / "prometheus/prometheus.yml"],
                        ["check", "rules", files.RULES], ["test", "rules", files.RULE_TESTS]):
            done = subprocess.run(["promtool", *command], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_alert_is_tested_to_fire_and_to_be_silent_where_all_is_well(self):
        scenarios = yaml.safe_load(files.RULE_TESTS.read_text())["tests"]
        cases = [case for scenario in scenarios for case in scenario.get("alert_rule_test", [])]
        firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
        healthy = {case["alertname"] for case in scenarios[0]["alert_rule_test"] if not case.get("exp_alerts")}
        names = {rule["alert"] for rule in files.alerts()}
        self.assertEqual(firing, names)
        self.assertEqual(healthy, names)
        print(f"{len(names)} alerts, {len(files.recorded())} recorded series, {len(cases)} alert cases in "
              f"{len(scenarios)} scenarios")

    def test_each_alert_says_what_to_do(self):
        headings = {line.lstrip("# ").strip() for line in OPERATIONS.read_text().splitlines() if line.startswith("#")}
        for rule in files.alerts():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
                self.assertTrue(rule["annotations"]["summary"])
                self.assertTrue(rule["annotations"]["description"])
                self.assertEqual(rule["annotations"]["runbook"], f"deploy/OPERATIONS.md#{rule['alert'].lower()}")
                self.assertIn(rule["alert"], headings, "has no entry in OPERATIONS.md")

    def test_rules_read_metrics_that_exist(self):
        known = files.documented_metrics() | files.recorded() | KNOWN_BESIDES
        for rule in files.rules():
            self.assertLessEqual(files.metrics_in(rule["expr"]), known, rule)

    def test_expressions_mean_the_same_in_prometheus_2_and_3(self):
        expressions = [rule["expr"] for rule in files.rules()]
        expressions += [target["expr"] for board in files.dashboards().values() for panel in files.panels(board)
                        for target in panel["targets"]]
        for expression in expressions:
            # Prometheus 3 writes a bucket's bound as 1.0, Prometheus 2 as the page has it; and 3 renamed this function.
            self.assertNotRegex(expression, r"\b(le|quantile)\s*[=!]", "chooses a series by a bound")
            self.assertNotIn("holt_winters", expression)

    def test_every_recorded_series_is_read_somewhere(self):
        read = set().union(*(files.metrics_in(rule["expr"]) for rule in files.rules()),
                           *(files.metrics_in(target["expr"]) for board in files.dashboards().values()
                             for panel in files.panels(board) for target in panel["targets"]))
        self.assertEqual(files.recorded() - read, set())


class DashboardsTest(unittest.TestCase):
    def test_uids_are_fixed_and_ids_unique(self):
        self.assertEqual(set(files.dashboards()), {"regroup-fleet", "regroup-job"})
        for board in files.dashboards().values():
            ids = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(ids), len(set(ids)))

    def test_each_panel_is_documented_has_a_unit_and_needs_no_plug_in(self):
        for uid, board in files.dashboards().items():
            for panel in files.panels(board):
                with self.subTest(f"{uid}: {panel['title']}"):
                    self.assertIn(panel["type"], CORE_PANELS)
                    self.assertTrue(panel["title"] and panel["description"])
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                    self.assertTrue(panel["targets"])
                    for part in (panel, *panel["targets"]):
                        self.assertEqual(part["datasource"], {"type": "prometheus", "uid": "${datasource}"})

    def test_no_panel_lies_over_another(self):
        for uid, board in files.dashboards().items():
            taken = {}
            for panel in board["panels"]:
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24)
                for x in range(place["x"], place["x"] + place["w"]):
                    for y in range(place["y"], place["y"] + place["h"]):
                        other = taken.setdefault((x, y), panel["title"])
                        self.assertEqual(other, panel["title"], uid)

    def test_variables_choose_the_data_source_and_the_job(self):
        variables = {uid: [variable["name"] for variable in board["templating"]["list"]]
                     for uid, board in files.dashboards().items()}
        self.assertEqual(variables, {"regroup-fleet": ["datasource"], "regroup-job": ["datasource", "job_id"]})

    def test_panels_read_metrics_that_exist(self):
        known = files.documented_metrics() | files.recorded() | KNOWN_BESIDES
        for board in files.dashboards().values():
            for panel in files.panels(board):
                for target in panel["targets"]:
                    self.assertLessEqual(files.metrics_in(target["expr"]), known, panel["title"])

    def test_every_metric_of_the_service_is_on_a_panel_or_in_an_alert(self):
        expressions = [rule["expr"] for rule in files.rules()]
        expressions += [target["expr"] for board in files.dashboards().values() for panel in files.panels(board)
                        for target in panel["targets"]]
        shown = set().union(*map(files.metrics_in, expressions))
        ours = {name for name in files.documented_metrics() if name.startswith("regroup_")}
        self.assertEqual(ours - shown, {"regroup_build_info"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
