#!/usr/bin/env python3
"""A real Prometheus scrapes the coordinator while a job runs, and knows every documented metric with its type."""

import json
import shutil
import socket
import unittest
import urllib.error
import urllib.parse
import urllib.request

from harness import job_file, processes
from harness.program_test import ProgramTest

# There from the first scrape of a cluster with a worker.
ALWAYS = {
    "regroup_jobs": "gauge",
    "regroup_workers": "gauge",
    "regroup_slots": "gauge",
    "regroup_worker_heartbeat_age_seconds": "gauge",
    "regroup_rpc_seconds": "histogram",
    "regroup_logs_dropped_total": "counter",
    "regroup_store_failures_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_open_fds": "gauge",
    "process_start_time_seconds": "gauge",
}
# There once a job is in its training.
IN_TRAINING = {
    "regroup_job_queue_seconds": "histogram",
    "regroup_tasks_finished_total": "counter",
    "regroup_task_seconds": "histogram",
    "regroup_scheduling_seconds": "histogram",
    "regroup_job_step": "gauge",
    "regroup_job_loss": "gauge",
    "regroup_job_gate_sparsity": "gauge",
    "regroup_job_gate_sparsity_target": "gauge",
    "regroup_job_learning_rate": "gauge",
    "regroup_job_gradient_norm": "gauge",
    "regroup_job_tokens_per_second": "gauge",
    "regroup_job_step_seconds": "gauge",
}
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: regroup
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """Runs in the test's folder, keeps nothing after it, and answers queries."""

    def __init__(self, folder, scraped_port):
        program = shutil.which("prometheus")
        if not program:
            raise AssertionError("there is no prometheus; install it: apt-get install --no-install-recommends prometheus")
        (folder / "prometheus.yml").write_text(CONFIGURATION.format(port=scraped_port))
        self._url = f"http://127.0.0.1:{free_port()}"
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus",
                   f"--web.listen-address={self._url.removeprefix('http://')}"]
        with open(folder / "prometheus.log", "wb") as log:
            self.process = processes.start(command, stdout=log, stderr=log)
        processes.wait_until(self._is_ready, "Prometheus", pause_s=0.2)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def query(self, expression):
        """[(labels, value)] of an instant query."""
        found = self._get("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def types(self):
        return {name: entries[0]["type"] for name, entries in self._get("metadata").items()}

    def _get(self, path, **parameters):
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("prometheus ended at once; see its log")
        try:
            return bool(self._get("query", query="1"))
        except (urllib.error.URLError, OSError):
            return False


class PrometheusTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.prometheus = Prometheus(self.folder, self.cluster.metrics_port)
        self.addCleanup(self.prometheus.stop)

    def wait_for(self, expression):
        """The samples of an expression once there are any."""
        return processes.wait_until(lambda: self.prometheus.query(expression), expression, pause_s=0.2)

    def assert_types(self, documented):
        def seen():
            types = self.prometheus.types()
            return types if all(name in types for name in documented) else None
        types = processes.wait_until(seen, f"all of {sorted(documented)}", patience_s=60, pause_s=0.5)
        self.assertEqual({name: types[name] for name in documented}, documented)

    def test_it_knows_the_cluster_and_the_job_that_trains(self):
        self.wait_for('up{job="regroup"} == 1')
        self.wait_for('regroup_workers{state="ready"} == 1')
        self.wait_for('regroup_slots{state="free"} == 2')
        self.assert_types(ALWAYS)

        job = self.cluster.submit(self.write_job(job_file.small_job(self.output, finetune={"steps": 100000})))
        self.wait_for("regroup_job_step > 1")
        self.wait_for('regroup_jobs{state="running"} == 1')
        self.wait_for('regroup_slots{state="busy"} == 2')
        self.assert_types(IN_TRAINING)
        for kind, tasks in {"inspect": 1, "calibrate": 1, "align": 4}.items():
            finished = self.prometheus.query(f'regroup_tasks_finished_total{{kind="{kind}",outcome="succeeded"}}')
            self.assertEqual([value for _, value in finished], [tasks], kind)
        labels, _ = self.prometheus.query("regroup_job_loss")[0]
        self.assertEqual((labels["job_id"], labels["task"]), (job, "finetune"))
        histograms = self.prometheus.query('{__name__=~"regroup_.*_bucket"}')
        self.assertEqual([labels for labels, _ in histograms if job in labels.values()], [],
                         "a histogram has a series a job")

        self.cluster.regroup("cancel", job)
        self.cluster.wait_for_end(job)
        self.wait_for('regroup_jobs_finished_total{state="cancelled"} == 1')
        processes.wait_until(lambda: not self.prometheus.query("regroup_job_loss"), "the end of the job's gauges")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    unittest.main(verbosity=2)
