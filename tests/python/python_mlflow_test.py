#!/usr/bin/env python3
"""Exports real jobs to a real MLflow server; what it stored is compared with what the command prints."""

import json
import pathlib
import unittest

import regroup
import regroup.mlflow
from mlflow.tracking import MlflowClient

from harness import job_file
from harness.program_test import ProgramTest

from mlflow_server import MlflowServer


class PythonMlflowTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.server = MlflowServer(self.folder)
        self.addCleanup(self.server.stop)
        self.tracking = MlflowClient(tracking_uri=self.server.url)
        self.client = regroup.Client(self.cluster.address)
        self.addCleanup(self.client.close)

    def export(self, job, **settings):
        return regroup.mlflow.export(self.client, job, tracking_uri=self.server.url, experiment="tests", **settings)

    def runs(self):
        experiment = self.tracking.get_experiment_by_name("tests")
        return self.tracking.search_runs([experiment.experiment_id])

    def points(self, run, metric):
        return [(point.step, point.value) for point in self.tracking.get_metric_history(run, metric)]

    def test_a_job_becomes_one_run_with_everything(self):
        job = self.client.submit(job_file.small_job(
            self.output, finetune={"ranks": 1}, evaluation=job_file.evaluation(), labels={"team": "search"}))
        first = self.export(job)
        self.assertEqual(self.tracking.get_run(first).info.status, "RUNNING")
        self.client.wait(job, check=True)
        for _ in range(2):
            self.assertEqual(self.export(job), first)
            self.assert_run_has_everything(self.tracking.get_run(first), job.id)
        self.assertEqual(len(self.runs()), 1)

    def assert_run_has_everything(self, run, job):
        shown = self.cluster.job(job)
        self.assertEqual(run.info.status, "FINISHED")
        self.assertEqual(run.data.tags["regroup.job"], job)
        self.assertEqual(run.data.tags["regroup.label.team"], "search")
        self.assertEqual(run.data.tags["regroup.owner"], "")
        self.assertEqual(run.data.params["finetune.steps"], "12")
        self.assertEqual(run.data.params["source.checkpoint"], shown["spec"]["source"]["checkpoint"])
        self.assertEqual(run.data.params["alignment.seed"], shown["resolved_spec"]["alignment"]["seed"])
        self.assertEqual({name: run.data.metrics[name] for name in shown["figures"]}, shown["figures"])
        expected = [(step, value) for _, step, value in self.cluster.metric(job, "loss")]
        self.assertEqual(self.points(run.info.run_id, "finetune/loss"), expected)
        self.assertEqual([artifact.path for artifact in self.tracking.list_artifacts(run.info.run_id, "report")],
                         ["report/report.html", "report/report.json"])
        path = pathlib.Path(self.tracking.download_artifacts(run.info.run_id, "report/report.json", str(self.folder)))
        self.assertEqual(json.loads(path.read_text()), json.loads((self.output / "regroup/report.json").read_text()))

    def test_a_failed_job_has_its_cause_and_no_report(self):
        job = self.client.submit(job_file.small_job(self.output, source={"checkpoint": str(self.folder / "none")}))
        self.client.wait(job)
        run = self.tracking.get_run(self.export(job))
        self.assertEqual(run.info.status, "FAILED")
        self.assertIn(str(self.folder / "none"), run.data.tags["regroup.failure"])
        self.assertEqual([artifact.path for artifact in self.tracking.list_artifacts(run.info.run_id)], ["job.json"])

    def test_a_job_with_the_id_of_a_deleted_one_has_a_run_of_its_own(self):
        for _ in range(2):
            job = self.client.submit(job_file.small_job(self.output, source={"checkpoint": "/none"}), job_id="same")
            self.client.wait(job)
            self.export(job)
            self.client.delete(job)
        self.assertEqual([run.data.tags["regroup.job"] for run in self.runs()], ["same", "same"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
