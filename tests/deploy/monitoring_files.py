"""Reads the files of deploy/prometheus and deploy/grafana."""

import json
import re

import yaml

from harness import places

DEPLOY = places.REPOSITORY / "deploy"
RULES = DEPLOY / "prometheus/rules.yaml"
RULE_TESTS = DEPLOY / "prometheus/rules_test.yaml"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
METRIC_TABLE = places.REPOSITORY / "services/common/metrics/README.md"
SUFFIX = re.compile(r"_(bucket|sum|count)$")


def rules():
    """Returns every rule as its YAML mapping, in order."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def recorded():
    return {rule["record"] for rule in rules() if "record" in rule}


def dashboards():
    """Returns a dictionary of uid -> dashboard."""
    return {board["uid"]: board for board in (json.loads(path.read_text()) for path in DASHBOARDS)}


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def documented_metrics():
    return set(re.findall(r"^\| `(\w+)` \|", METRIC_TABLE.read_text(), re.MULTILINE))


def metrics_in(expression):
    """Returns the metrics and recorded series that an expression reads; a histogram's parts count as the histogram."""
    found = set(re.findall(r"\b(?:regroup[_:]|process_|ALERTS\b|up\b)[\w:]*", re.sub(r'"[^"]*"', "", expression)))
    names = documented_metrics()
    return {SUFFIX.sub("", name) if name not in names and SUFFIX.sub("", name) in names else name for name in found}
