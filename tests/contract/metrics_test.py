#!/usr/bin/env python3
"""Checks that services/common/metrics/README.md matches a running coordinator: names, types, labels, label values."""

import email.message
import gzip
import json
import os
import re
import subprocess
import unittest
import urllib.request
from unittest import mock

from prometheus_client.parser import text_string_to_metric_families

from harness import job_file, places, processes, webhook_receiver
from harness.program_test import ProgramTest

README = places.REPOSITORY / "services/common/metrics/README.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\| ([^|]*)\| ([^|]+)\|$", re.MULTILINE)
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# Labels whose values are names or numbers.
FREE = {"job_id", "hook", "worker", "task", "layer", "version", "code", "method", "quantile"}
# The header that each sends; 3 refuses a page whose type it does not know, and may read names that need quotes.
ACCEPT = {
    "Prometheus 2": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Prometheus 3": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
                    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
                    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "Prometheus 3 with native histograms": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
                                           "encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;"
                                           "escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": (), "gauge": ()}


def documented():
    """Returns a dictionary of name -> (type, labels)."""
    return {name: (kind, frozenset(filter(None, labels.strip().split(", "))))
            for name, kind, _unit, labels, _meaning in ROW.findall(README.read_text())}


def documented_words():
    """Returns every value that a label may take."""
    text = README.read_text()
    paragraph = text[text.index("Label values:"):text.index("## The service")]
    return {word for quoted in re.findall(r"`([^`]+)`", paragraph) for word in quoted.split()}


class Page:
    """A scraped page, read by a parser that knows the text format and nothing else."""

    def __init__(self, text):
        self.types, self.labels, self.values, self.samples = {}, {}, [], []
        for line in filter(None, text.splitlines()):
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                assert name not in self.types, f"{name} has two types"
                self.types[name] = kind
            elif not line.startswith("#"):
                self._read_sample(line)

    def _read_sample(self, line):
        match = SAMPLE.match(line)
        assert match, f"not a sample: {line}"
        name, labels, value = match.groups()
        float(value)
        family = self._family(name)
        pairs = dict(LABEL.findall(labels or ""))
        if name.endswith("_bucket"):
            pairs.pop("le")
        self.values += list(pairs.items())
        self.samples.append((name, tuple(sorted(pairs.items()))))
        self.labels.setdefault(family, set()).update(pairs)

    def series(self, name):
        """Returns the labels of every sample with this name."""
        return {labels for sample, labels in self.samples if sample == name}

    def _family(self, name):
        for family, kind in self.types.items():
            if name == family or any(name == family + suffix for suffix in SUFFIXES[kind]):
                return family
        raise AssertionError(f"{name} has no type")


class MetricsTest(ProgramTest):
    maxDiff = None

    def scrape(self, port=None):
        port = port or self.cluster.metrics_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            self.assertEqual(answer.headers.get_content_type(), "text/plain")
            return answer.read().decode()

    def scrape_as(self, accept):
        """Returns (type, parameters of the type, text), as a Prometheus that sends this header gets them."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.cluster.metrics_port}/metrics",
                                         headers={"Accept": accept, "Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = email.message.Message()
            said["Content-Type"] = answer.headers["Content-Type"]
            self.assertEqual(answer.headers["Content-Encoding"], "gzip")
            return said.get_content_type(), dict(said.get_params()[1:]), gzip.decompress(answer.read()).decode()

    def check_what_each_prometheus_gets(self):
        for name, accept in ACCEPT.items():
            with self.subTest(name):
                kind, parameters, text = self.scrape_as(accept)
                # The text format, which both read; a version that is named must be one that both know.
                self.assertEqual(kind, "text/plain")
                self.assertIn(parameters.get("version", "0.0.4"), ("0.0.4", "1.0.0"))
                self.assertEqual(parameters.get("charset", "utf-8"), "utf-8")
                self.assertTrue(text.endswith("\n"))
                self.check_page(text)

    def check_page(self, text):
        """Checks that Prometheus' own Python library, promtool and our own parser read the same from the page."""
        families = {family.name: family for family in text_string_to_metric_families(text)}
        page = Page(text)
        # The library takes the suffix from a counter's name.
        self.assertEqual({name for family in families.values() for name in {family.name, f"{family.name}_total"}
                          if name in page.types}, set(page.types))
        self.assertEqual(sum(len(family.samples) for family in families.values()),
                         sum(not line.startswith("#") for line in text.splitlines() if line))
        for family in families.values():
            series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
            self.assertEqual(len(series), len(set(series)), f"{family.name} has a series twice")
            self.assertRegex(family.name, r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", "needs quotes, which only Prometheus 3 reads")
            self.assertTrue(family.documentation, family.name)
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def page_of_a_training_job(self):
        job = self.cluster.submit(self.write_job(job_file.small_job(
            self.output, finetune={"steps": 100000, "evaluate_every_steps": 2}, evaluation=job_file.evaluation(),
            layerwise={"method": "distill", "sequences": 8, "sequence_length": 32, "layers_per_task": 2})))  # fmt: skip
        processes.wait_until(lambda: "regroup_job_checkpoint_timestamp_seconds{" in self.scrape(), "a checkpoint",
                             patience_s=120, pause_s=0.3)
        return job, Page(self.scrape())

    def check_layers(self, page, job):
        """Checks that both errors of each layer are there, and that the tasks that trained them count as ended."""
        self.assertEqual(page.series("regroup_job_layer_error"),
                         {(("job_id", job), ("layer", str(layer)), ("task", f"layerwise-{layer // 2 * 2:03}"), ("when", when))
                          for layer in range(4) for when in ("before", "after")})  # fmt: skip
        self.assertEqual(page.series("regroup_job_layer"),
                         {(("job_id", job), ("task", f"layerwise-{first:03}")) for first in (0, 2)})
        self.assertEqual(page.series("regroup_job_step_timestamp_seconds"), {(("job_id", job), ("task", "finetune"))})

    @mock.patch.dict(os.environ, REGROUP_PEAK_FLOPS="1e12")
    def test_the_table_is_what_the_coordinator_serves(self):
        # A webhook that nobody receives: its attempts are counted from zero on.
        hooks, secret = self.folder / "webhooks.yaml", self.folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(f"{webhook_receiver.SECRET}\n")
        hooks.write_text(json.dumps(
            {"webhooks": [{"name": "tracker", "url": "http://127.0.0.1:9/", "secret_file": str(secret)}]}))
        self.cluster = self.start_cluster(workers=1, coordinator_arguments=["--webhooks", hooks])
        job, page = self.page_of_a_training_job()
        self.check_what_each_prometheus_gets()
        self.check_layers(page, job)
        table = documented()
        self.assertEqual(page.types, {name: kind for name, (kind, _) in table.items()})
        self.assertEqual(page.labels, {name: set(labels) for name, (_, labels) in table.items()})
        words = documented_words()
        self.assertEqual({(label, value) for label, value in page.values
                          if label not in FREE and value and value not in words}, set())

        self.cluster.regroup("cancel", job)
        self.cluster.wait_for_end(job)
        text = self.scrape()
        self.assertIn('regroup_jobs_finished_total{failure="",state="cancelled"} 1', text)
        self.assertNotIn(job, text, "series of a job that has ended")
        print(f"{len(table)} metrics, {len(text.splitlines())} lines a page")

    def test_another_address_than_loopback_has_to_be_asked_for_and_is_logged(self):
        port_file = self.folder / "metrics-port"
        with open(self.folder / "coordinator.log", "wb") as log:
            coordinator = processes.start([places.PROGRAMS / "regroup-coordinator", "--work-dir", self.folder / "work",
                                           "--listen", "127.0.0.1:0", "--metrics-listen", "0.0.0.0:0",
                                           "--metrics-port-file", port_file], stdout=log, stderr=log)
        self.addCleanup(coordinator.wait)
        self.addCleanup(coordinator.terminate)
        processes.wait_until(lambda: port_file.exists() and port_file.read_text(), "the metrics' port", patience_s=60)
        self.assertIn("regroup_jobs", self.scrape(int(port_file.read_text())))
        processes.wait_until(lambda: "without a password" in (self.folder / "coordinator.log").read_text(),
                             "a warning", patience_s=10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
