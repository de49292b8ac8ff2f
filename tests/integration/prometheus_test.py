#!/usr/bin/env python3
"""A real Prometheus scrapes the coordinator while a job runs, and knows every documented metric with its type."""

import unittest

from harness import job_file, processes
from harness.program_test import ProgramTest
from harness.prometheus import Prometheus

# Metrics that exist from the first scrape of a cluster with a worker.
ALWAYS = {
    "regroup_jobs": "gauge",
    "regroup_workers": "gauge",
    "regroup_slots": "gauge",
    "regroup_worker_heartbeat_age_seconds": "gauge",
    "regroup_rpc_seconds": "histogram",
    "regroup_logs_dropped_total": "counter",
    "regroup_points_dropped_total": "counter",
    "regroup_store_failures_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_open_fds": "gauge",
    "process_start_time_seconds": "gauge",
}
# Metrics that exist while a job trains.
IN_TRAINING = {
    "regroup_job_queue_seconds": "histogram",
    "regroup_tasks_finished_total": "counter",
    "regroup_task_seconds": "histogram",
    "regroup_scheduling_seconds": "histogram",
    "regroup_job_step": "gauge",
    "regroup_job_loss": "gauge",
    "regroup_job_layer": "gauge",
    "regroup_job_layer_loss": "gauge",
    "regroup_job_layer_error": "gauge",
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


class PrometheusTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.prometheus = Prometheus(self.folder, CONFIGURATION.format(port=self.cluster.metrics_port))
        self.addCleanup(self.prometheus.stop)

    def wait_for(self, expression):
        """Returns the samples of an expression once there are any."""
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

        job = self.cluster.submit(self.write_job(job_file.small_job(
            self.output, finetune={"steps": 100000},
            layerwise={"method": "distill", "sequences": 8, "sequence_length": 32, "layers_per_task": 2})))  # fmt: skip
        self.wait_for('regroup_job_step{task="finetune"} > 1')
        self.wait_for('regroup_jobs{state="running"} == 1')
        self.wait_for('regroup_slots{state="busy"} == 2')
        self.assert_types(IN_TRAINING)
        for kind, tasks in {"inspect": 1, "calibrate": 1, "align": 4, "record": 1, "layerwise": 2}.items():
            finished = self.prometheus.query(f'regroup_tasks_finished_total{{kind="{kind}",outcome="succeeded"}}')
            self.assertEqual([value for _, value in finished], [tasks], kind)
        labels, _ = self.prometheus.query("regroup_job_loss")[0]
        self.assertEqual((labels["job_id"], labels["task"]), (job, "finetune"))
        errors = self.prometheus.query('count by (task, when) (regroup_job_layer_error)')
        self.assertEqual({(labels["task"], labels["when"]): value for labels, value in errors},
                         {(f"layerwise-{first:03}", when): 2 for first in (0, 2) for when in ("before", "after")})
        # Only a task that runs can stall.
        running = self.prometheus.query("regroup_job_step_timestamp_seconds")
        self.assertEqual([labels["task"] for labels, _ in running], ["finetune"])
        histograms = self.prometheus.query('{__name__=~"regroup_.*_bucket"}')
        self.assertEqual([labels for labels, _ in histograms if job in labels.values()], [],
                         "a histogram has a series a job")

        self.cluster.regroup("cancel", job)
        self.cluster.wait_for_end(job)
        self.wait_for('regroup_jobs_finished_total{state="cancelled"} == 1')
        processes.wait_until(lambda: not self.prometheus.query("regroup_job_loss"), "the end of the job's gauges")


if __name__ == "__main__":
    unittest.main(verbosity=2)
