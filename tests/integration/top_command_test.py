#!/usr/bin/env python3
"""Tests `regroup top` on a terminal emulator, in a pipe and as JSON, with real jobs."""

import json
import unittest

from harness import cluster, job_file, on_terminal, places, processes
from harness.program_test import ProgramTest


class TopTest(ProgramTest):
    def submit(self, name, **changes):
        job = job_file.small_job(self.results / name, name=name, **changes)
        return self.cluster.submit(self.write_job(job, f"{name}.yaml"))

    def start_top(self, columns, rows, **environment):
        screen = on_terminal.Screen([places.PROGRAMS / "regroup", "top"], columns, rows,
                                    {"REGROUP_COORDINATOR": self.cluster.address, "TERM": "screen-256color", "LANG": "C.UTF-8",
                                     **environment})
        self.addCleanup(screen.close)
        return screen

    def assert_restored(self, screen):
        """The program's table is gone, what was there before is back, and the keys have lines and an echo again."""
        text = screen.wait_for("after: 0")
        self.assertIn("before", text)
        self.assertNotIn("WORKER", text)
        settings = screen.wait_for("icanon").split()
        self.assertIn("icanon", settings)
        self.assertIn("echo", settings)


class OneJob(TopTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.job = self.submit("endless", finetune={"steps": 100000})
        self.cluster.wait_for_checkpoint(self.job, 4)

    def top_with_losses(self):
        shown = self.cluster.json_of("top")
        [job] = shown["jobs"]
        return shown if len(job.get("losses", [])) >= 4 else None

    def test_its_curves_are_those_that_the_metrics_command_prints(self):
        # Trainers report points together with other progress, so the first may come after the checkpoint.
        shown = processes.wait_until(self.top_with_losses, "four losses", 60, 0.2)
        [job] = shown["jobs"]
        self.assertEqual((job["job"], job["state"], job["stage"]), (self.job, "running", "finetune"))
        printed = self.cluster.regroup("metrics", self.job, "--json").stdout.splitlines()
        points = [json.loads(line) for line in printed]
        for name, metric in (("losses", "loss"), ("speeds", "tokens_per_second")):
            values = [point["value"] for point in points if point["task"] == "finetune" and point["metric"] == metric]
            self.assertEqual(job[name], values[:len(job[name])], name)
        [worker] = shown["workers"]
        self.assertEqual((worker["worker"], worker["busy_slots"], worker["slots"]), ("worker-1", 2, 2))
        self.assertEqual(worker["running_tasks"], [f"jobs/{self.job}/tasks/finetune"])

    def test_a_pipe_gets_the_table_once_without_control_characters(self):
        for arguments in (["top"], ["top", "--once"]):
            done = self.cluster.regroup(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([c for c in done.stdout if ord(c) < 32 and c != "\n"], [])
            self.assertIn(self.job, done.stdout)

    def test_a_terminal_follows_the_job_and_q_restores_it(self):
        screen = self.start_top(80, 24)
        first = screen.wait_for(" 0 %").splitlines()
        self.assertRegex(next(line for line in first if " running " in line), r"finetune +0 %")
        bars = set("▁▂▃▄▅▆▇█")
        processes.wait_until(lambda: sum(c in bars for c in screen.text()) >= 8, "both curves", 60, 0.2)
        self.cluster.regroup("cancel", self.job, check=True)
        screen.wait_for("cancelled")
        screen.wait_for("0/2")
        screen.press("q")
        self.assert_restored(screen)

    def test_control_c_restores_the_terminal(self):
        screen = self.start_top(100, 30, NO_COLOR="1", LANG="C")
        screen.wait_for("finetune")
        self.assertEqual([c for c in screen.text() if ord(c) > 126], [])
        screen.press("C-c")
        self.assert_restored(screen)

    def test_a_coordinator_that_is_gone_is_named_and_one_that_returns_is_read_again(self):
        screen = self.start_top(120, 24)
        screen.wait_for("finetune")
        self.cluster.kill_coordinator()
        screen.wait_for("cannot reach the coordinator")
        self.cluster.start_coordinator()
        screen.wait_for("1 running")
        screen.press("q")
        self.assert_restored(screen)


class ManyJobs(TopTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=0)

    def test_every_screen_is_filled_and_none_is_overrun(self):
        screen = self.start_top(80, 24)
        screen.wait_for("no jobs")
        names = [self.submit(f"a-very-long-name-of-a-conversion-{i:02}") for i in range(40)]
        screen.wait_for("40 waiting")
        self.check(screen, 80, 24, names)
        screen.resize(200, 50)
        screen.wait_for(names[0])
        self.check(screen, 200, 50, names)
        screen.resize(60, 10)
        processes.wait_until(lambda: len(screen.lines()) <= 10 and "more jobs" in screen.text(), "the small table", 30, 0.1)
        self.check(screen, 60, 10, names)
        screen.press("q")
        self.assert_restored(screen)

    def check(self, screen, columns, rows, names):
        lines = screen.lines()
        self.assertLessEqual(len(lines), rows)
        self.assertLessEqual(max(map(len, lines)), columns)
        shown = [line for line in lines if " queued " in line]
        more = [int(line.split()[1]) for line in lines if line.endswith("more jobs")]
        self.assertEqual(len(shown) + sum(more), len(names))
        for line in shown:
            start, _, end = line.split()[0].partition("…")
            self.assertTrue(any(name.startswith(start) and name.endswith(end) for name in names), line)


class Nobody(ProgramTest):
    def test_without_a_coordinator_it_says_so_and_exits_with_3(self):
        done = cluster.run_regroup("top", coordinator="127.0.0.1:1")
        self.assertEqual(done.returncode, 3)
        self.assertIn("cannot reach the coordinator", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
