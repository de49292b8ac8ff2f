#!/usr/bin/env python3
"""TensorBoard reads what trainings write: the same figures as the service has, also of a training that was killed."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harness import job_file, places, processes
from harness.program_test import ProgramTest

PAGE = places.REPOSITORY / "trainer/README.md"
STEPS, CHECKPOINT, GATES = 40, 4, 4 * 8
ONLY_IN_FIRST_ATTEMPT = range(1, CHECKPOINT + 1)
LAYERWISE = {"method": "distill", "sequences": 8, "sequence_length": 32, "layers_per_task": 2}
SCALARS = ("loss", "learning_rate", "tokens_per_second", "gate_sparsity", "gate_sparsity_target", "gradient_norm",
           "validation_perplexity")  # fmt: skip


def read(folder):
    """Returns what TensorBoard's own reader finds in a file, or in the folder of a run, without thinning it."""
    run = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    run.Reload()
    return run


def documented_command():
    """Returns the command that the page shows."""
    [command] = re.findall(r"^    (tensorboard .*?)(?: +#.*)?$", PAGE.read_text(), re.MULTILINE)
    return shlex.split(command)


class Server:
    """TensorBoard's own server."""

    def __init__(self, test, events):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program, *arguments = documented_command()
        assert program == "tensorboard"
        arguments = [argument.replace("WORK/jobs/JOB/events", str(events)) for argument in arguments]
        log = open(test.folder / "tensorboard.log", "wb")
        test.addCleanup(log.close)
        # Its data server needs a home.
        environment = {**os.environ, "HOME": str(test.folder), "NO_PROXY": "127.0.0.1"}
        self.process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *arguments, "--host", "127.0.0.1",
                                         "--port", str(port)], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        env=environment, start_new_session=True)  # fmt: skip
        test.addCleanup(self.stop)
        self._address = f"http://127.0.0.1:{port}"

    def get(self, path, **query):
        """Returns an answer, or None as long as there is none."""
        url = f"{self._address}{path}?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=30) as answer:
                return json.loads(answer.read())
        except (urllib.error.URLError, ConnectionError):
            return None

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=60)


class EventFilesTest(ProgramTest):
    def submit(self, **changes):
        return self.cluster.submit(self.write_job(job_file.small_job(self.output, **changes)))

    def events(self, job):
        return self.cluster.work / "jobs" / job / "events"

    def points(self, job, task, metric):
        """Returns (epoch, step, value) of each point that the service has, in order of arrival."""
        done = self.cluster.regroup("metrics", job, "--metric", metric, "--json", check=True)
        points = [json.loads(line) for line in done.stdout.splitlines()]
        return [(int(point["epoch"]), int(point["step"]), point.get("value", 0)) for point in points
                if point["task"] == task]

    def latest(self, job, metric):
        """Returns the value of each step of finetune from the last attempt that ran the step."""
        values = {}
        for epoch, step, value in self.points(job, "finetune", metric):
            values[step] = max(values.get(step, (0, 0)), (epoch, value))
        return {step: value for step, (_, value) in values.items()}

    def assert_same_points(self, points, expected, name, only_in_files=()):
        """The service may lack the steps in `only_in_files`: what a killed process has not sent yet is lost to it."""
        steps = [step for step, _ in points]
        self.assertEqual(steps, sorted({*expected, *(step for step in steps if step in only_in_files)}), name)
        for step, value in points:
            if step in expected:
                self.assertAlmostEqual(value, expected[step], delta=1e-6 * abs(expected[step]), msg=f"{name} of step {step}")

    def check_histograms(self, run):
        histograms = {event.step: event.histogram_value for event in run.Histograms("gates")}
        self.assertEqual(sorted(histograms), list(range(1, STEPS + 1)))
        for step, histogram in histograms.items():
            self.assertEqual(sum(histogram.bucket), GATES, f"step {step}")
            self.assertEqual(histogram.num, GATES)
            self.assertEqual(len(histogram.bucket), len(histogram.bucket_limit))
            self.assertTrue(0 <= histogram.min <= histogram.sum / GATES <= histogram.max <= 1, f"step {step}")
        # Gates are open at first, and closed in the last fifth of the steps.
        self.assertGreater(histograms[1].max, 0.9)
        for step in range(STEPS * 4 // 5 + 1, STEPS + 1):
            self.assertEqual((histograms[step].max, list(histograms[step].bucket)), (0, [GATES]), f"step {step}")
        return histograms

    def check_server(self, job, losses, histograms):
        server = Server(self, self.events(job))
        runs = processes.wait_until(lambda: len(server.get("/data/runs") or []) == 5 and server.get("/data/runs"),
                                    "TensorBoard's runs", patience_s=120, pause_s=0.5)  # fmt: skip
        self.assertEqual(set(runs), {"finetune"} | {f"layerwise-{first:03}/layer-{first + more:03}"
                                                    for first in (0, 2) for more in (0, 1)})  # fmt: skip
        shown = server.get("/data/plugin/scalars/scalars", run="finetune", tag="loss")
        self.assert_same_points([(step, value) for _, step, value in shown], losses, "loss on the page",
                                ONLY_IN_FIRST_ATTEMPT)
        for _, step, buckets in server.get("/data/plugin/histograms/histograms", run="finetune", tag="gates"):
            counts = numpy.array(buckets)[:, 2] if len(buckets) else numpy.array([])
            self.assertEqual(round(counts.sum()), round(histograms[step].num), f"histogram of step {step}")

    def check_layers(self, job):
        for layer in range(4):
            task = f"layerwise-{layer // 2 * 2:03}"
            run = read(self.events(job) / task / f"layer-{layer:03}")
            points = [(event.step, event.value) for event in run.Scalars("layer_loss")]
            expected = {}
            for (_, step, value), (_, _, of) in zip(self.points(job, task, "layer_loss"), self.points(job, task, "layer")):
                if of == layer:
                    # A layer whose training raised its error is trained again from its start.
                    expected = {earlier: loss for earlier, loss in expected.items() if earlier < step} | {step: value}
            self.assert_same_points(points, expected, f"loss of layer {layer}")
            [error] = run.Scalars("layer_error_after")
            self.assertEqual(error.step, layer)

    def test_tensorboard_shows_a_training_that_was_killed_and_went_on(self):
        self.cluster = self.start_cluster(workers=1)
        job = self.submit(finetune={"steps": STEPS, "checkpoint_every_steps": CHECKPOINT, "evaluate_every_steps": 5,
                                    "evaluate_windows": 3},
                          evaluation=job_file.evaluation(), layerwise=LAYERWISE)  # fmt: skip
        with self.cluster.held_at_checkpoint(job, 2 * CHECKPOINT) as ranks:
            # Without its last checkpoint, training goes on from the one before, and repeats steps.
            [last] = self.cluster.work.glob(f"jobs/{job}/finetune/1/checkpoints/step-{2 * CHECKPOINT:08d}")
            shutil.rmtree(last)
            os.kill(ranks[0].pid, signal.SIGKILL)
        self.assert_succeeded(self.cluster.wait_for_end(job))
        files = sorted((self.events(job) / "finetune").iterdir())
        self.assertEqual(len(files), 2, "a file for each attempt")
        first, second = ([event.step for event in read(file).Scalars("loss")] for file in files)
        self.assertGreaterEqual(first[-1], 2 * CHECKPOINT)
        self.assertEqual(second, list(range(CHECKPOINT + 1, STEPS + 1)))

        run = read(self.events(job) / "finetune")
        for name in SCALARS:
            points = [(event.step, event.value) for event in run.Scalars(name)]
            self.assert_same_points(points, self.latest(job, name), name, ONLY_IN_FIRST_ATTEMPT)
        self.assertEqual([event.step for event in run.Scalars("loss")], list(range(1, STEPS + 1)))
        self.assertEqual([event.step for event in run.Scalars("validation_perplexity")], list(range(5, STEPS + 1, 5)))
        self.assertTrue(all(abs(event.wall_time - time.time()) < 3600 for event in run.Scalars("loss")))
        histograms = self.check_histograms(run)
        self.check_layers(job)
        self.check_server(job, self.latest(job, "loss"), histograms)

        self.cluster.regroup("delete", job, check=True)
        processes.wait_until(lambda: not self.events(job).exists(), "the end of the event files", pause_s=0.1)

    def test_a_job_can_do_without(self):
        self.cluster = self.start_cluster(workers=1)
        job = self.submit(finetune={"steps": 2}, layerwise=LAYERWISE, resources={"event_files": False})
        self.assert_succeeded(self.cluster.wait_for_end(job))
        self.assertFalse(self.events(job).exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
