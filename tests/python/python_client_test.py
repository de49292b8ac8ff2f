#!/usr/bin/env python3
"""The Python client against a real coordinator, worker and trainer; what it returns is compared with `regroup --json`."""

import json
import pathlib
import unittest
import warnings

import numpy
import regroup

from harness import job_file, processes
from harness.program_test import ProgramTest

SMALL = {"evaluation": job_file.evaluation(), "finetune": {"ranks": 1}}
# Its tasks log a line for each layer.
DISTILLED = {"layerwise": {"method": "distill", "sequences": 16, "sequence_length": 32, "passes": 1, "layers_per_task": 2}}


class PythonClientTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.client = regroup.Client(self.cluster.address)
        self.addCleanup(self.client.close)

    def job(self, **changes):
        return job_file.small_job(self.output, **{**SMALL, **changes})

    def hold_tasks(self):
        """Lets the worker take no task."""
        drained = lambda: self.cluster.regroup("drain", "worker-1").returncode == 0
        processes.wait_until(drained, "the worker", 60, pause_s=0.2)

    def test_a_conversion_from_submission_to_report(self):
        submitted = self.client.submit(self.job(**DISTILLED, labels={"team": "search"}), job_id="first")
        self.assertEqual((submitted.id, submitted.name), ("first", "jobs/first"))
        job = self.client.wait(submitted, check=True)
        shown = self.cluster.job("first")
        self.assertEqual(job.state, regroup.JobState.SUCCEEDED)
        self.assertEqual(dict(job.figures), shown["figures"])
        self.assertEqual([task.id for task in job.tasks], [task["name"].split("/")[-1] for task in shown["tasks"]])
        self.assertEqual({task.state for task in job.tasks}, {"succeeded"})
        self.assertEqual(job.resolved_spec["finetune"]["seed"], 0)
        self.assertEqual(job.create_time.isoformat()[:19], shown["create_time"][:19])
        self.assert_curves_are_those_of_the_command(job)
        self.assert_logs_are_those_of_the_command(job)
        written = json.loads((self.output / "regroup/report.json").read_text())
        self.assertEqual(self.client.report("first"), written)
        self.assertEqual(self.client.list(labels={"team": "search"})[0].id, "first")
        self.assertEqual(self.client.list(labels={"team": "other"}), ())
        self.assertEqual(self.client.list(states=[regroup.JobState.FAILED]), ())
        self.client.delete(job)
        with self.assertRaises(regroup.NotFound) as raised:
            self.client.get("first")
        self.assertEqual((raised.exception.code, raised.exception.reason), ("NOT_FOUND", "RESOURCE_NOT_FOUND"))
        self.assertTrue((self.output / "config.json").exists())

    def assert_curves_are_those_of_the_command(self, job):
        curves = self.client.metrics(job)
        steps, values = curves["loss"]
        expected = [(step, value) for _, step, value in self.cluster.metric("first", "loss")]
        self.assertEqual(list(zip(steps, values)), expected)
        self.assertGreater(len(steps), 1)
        self.assertEqual(self.client.metrics(job, metrics=["loss"], after_step=steps[0])["loss"].steps, steps[1:])
        arrays = curves["loss"].numpy()
        numpy.testing.assert_array_equal(arrays[1], numpy.array(values))
        self.assertEqual(arrays[0].dtype, numpy.int64)

    def assert_logs_are_those_of_the_command(self, job):
        task = next(self.client.logs(job, min_severity="info")).task
        lines = list(self.client.logs(job, task=task, min_severity="info"))
        shown = self.cluster.regroup("logs", "first", "--task", task, "--severity", "info", "--json").stdout
        self.assertEqual([line.message for line in lines], [json.loads(line)["message"] for line in shown.splitlines()])
        self.assertEqual({(line.task, line.rank, line.severity in ("info", "warning")) for line in lines}, {(task, 0, True)})
        self.assertEqual(list(self.client.logs(job, task=task, min_severity="info", tail_lines=1)), lines[-1:])
        self.assertEqual(list(self.client.logs(job, task=task, since=lines[-1].time.replace(year=2100))), [])
        self.assertEqual(list(self.client.logs(job, task=task, ranks=[7])), [])
        with self.assertRaisesRegex(regroup.InvalidRequest, "min_severity"):
            self.client.logs(job, min_severity="loud")

    def test_all_forms_of_a_job_mean_the_same(self):
        path = self.write_job({**self.job(), "calibration": {"data": ["texts.jsonl", "more.jsonl"], "sequences": 8},
                               "output": {"checkpoint": "results/../out/"}})
        by_command = self.cluster.json_of("submit", path, "--job-id", "command")
        from_path = self.client.submit(path)
        from_text = self.client.submit(path.read_text(), folder=self.folder)
        from_dict = self.client.submit(json.loads(path.read_text()), folder=self.folder)
        self.assertEqual(by_command["spec"]["output"], {"checkpoint": str(self.folder / "out")})
        expected = self.client.get("command").spec
        for job in (from_path, from_text, from_dict):
            self.assertEqual(job.spec, expected)
            self.client.cancel(job)
        self.client.cancel("command")

    def test_a_request_id_makes_one_job(self):
        self.hold_tasks()
        first = self.client.submit(self.job(), request_id="once")
        self.assertEqual(self.client.submit(self.job(), request_id="once").name, first.name)
        with self.assertRaises(regroup.AlreadyExists) as raised:
            self.client.submit(self.job(name="other"), request_id="once")
        self.assertEqual(raised.exception.reason, "REQUEST_ID_REUSED")
        self.assertNotEqual(self.client.submit(self.job()).name, first.name)
        self.assertEqual(len(self.client.list()), 2)
        self.assertEqual(len(self.client.list(limit=1)), 1)

    def test_an_invalid_value_is_named_with_its_line(self):
        with self.assertRaises(regroup.InvalidRequest) as raised:
            self.client.submit(self.job(target={"kv_heads": -2}))
        self.assertEqual(raised.exception.reason, "INVALID_FIELD")
        self.assertEqual([violation.field for violation in raised.exception.field_violations], ["target.kv_heads"])
        path = self.write_job(self.job(target={"kv_heads": -2}))
        line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "kv_heads" in text)
        for call in (self.client.submit, self.client.plan):
            with self.assertRaisesRegex(regroup.InvalidRequest, rf"job\.yaml:{line}:\d+: target\.kv_heads: "):
                call(path)
        self.assertEqual(self.client.list(), ())

    def test_validation_accepts_nothing(self):
        self.assertEqual(self.client.submit(self.job(), validate_only=True).spec["name"], "small")
        self.assertEqual(self.client.list(), ())

    def test_a_plan_has_the_figures_of_the_command(self):
        path = self.write_job(self.job())
        plan = self.client.plan(path)
        shown = self.cluster.json_of("plan", path, "--remote")["plan"]
        self.assertEqual(plan.result_kv_bytes_per_token * 4, plan.source_kv_bytes_per_token)
        self.assertEqual(plan.details["flops"], shown["flops"])
        self.assertEqual((plan.details["storage_bytes"], plan.storage_bytes), (shown["storage_bytes"],) * 2)
        self.assertEqual(plan.training_tokens, 12 * 2 * 32)
        self.assertEqual(list(plan.notes), shown["notes"])

    def test_a_cancelled_job_is_retried(self):
        self.hold_tasks()
        job = self.client.submit(self.job())
        self.assertIs(self.client.cancel(job).state, regroup.JobState.CANCELLED)
        with self.assertRaises(regroup.JobFailed) as raised:
            self.client.wait(job, check=True)
        self.assertIs(raised.exception.job.state, regroup.JobState.CANCELLED)
        self.assertFalse(self.client.retry(job).state.is_final)
        with self.assertRaises(regroup.WrongState) as raised:
            self.client.retry(job)
        self.assertEqual(raised.exception.reason, "WRONG_STATE")
        with self.assertRaises(regroup.WrongState):
            self.client.report(job)
        with self.assertRaisesRegex(TimeoutError, "is not final"):
            self.client.wait(job, timeout_s=1)

    def test_a_failure_names_its_class_and_shows_as_text(self):
        # A C1 control, a change of direction and an invisible character, which YAML and file names may hold.
        job = self.client.submit(self.job(source={"checkpoint": str(self.folder / "<b>&none\x9b\u202e\u200b")}))
        failed = self.client.wait(job)
        self.assertIs(failed.state, regroup.JobState.FAILED)
        self.assertIn(failed.failure.failure_class, ("user", "data"))
        page = failed._repr_html_()
        self.assertIn("&lt;b&gt;&amp;none", page)
        self.assertNotIn("<b>&none", page)
        self.assertIn("<td>inspect</td><td>failed</td>", page)
        for shown in (page, str(regroup.JobFailed(failed)), repr(failed)):
            self.assertNotRegex(shown, "[\x9b\u202e\u200b]")
        self.assertIn("\\u{202e}", page)
        self.assertEqual(repr(failed), f"<regroup.Job '{job.id}': failed>")

    def test_streams_are_ended_by_their_reader(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.hold_tasks()
            job = self.client.submit(self.job())
            events = self.client.watch(job)
            self.assertIs(next(events).job.state, regroup.JobState.QUEUED)
            events.close()
            logs = self.client.logs(job, follow=True)
            self.client.cancel(job)
            self.assertEqual(list(logs), [])

    def test_an_unknown_job_and_a_silent_address(self):
        for call in (self.client.get, self.client.cancel, self.client.wait, self.client.report,
                     lambda job: list(self.client.logs(job))):
            with self.assertRaises(regroup.NotFound):
                call("nothing")
        with regroup.Client("127.0.0.1:1") as nowhere, self.assertRaisesRegex(regroup.Unavailable, "127.0.0.1:1") as raised:
            nowhere.get("small")
        self.assertEqual(raised.exception.reason, "")

    def test_a_file_that_is_not_there(self):
        with self.assertRaises(FileNotFoundError):
            self.client.submit(pathlib.Path("no-such-job.yaml"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
