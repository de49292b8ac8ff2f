#!/usr/bin/env python3
"""Watching survives a coordinator that is killed and started again: every revision is seen once and in order."""

import concurrent.futures
import threading
import time
import unittest

import regroup

from harness import job_file, processes
from harness.program_test import ProgramTest


class Watcher(threading.Thread):
    """Watches a job on a thread of its own and keeps the events."""

    def __init__(self, client, job, **settings):
        super().__init__(daemon=True)
        self.events = []
        self.error = None
        self._watch = client.watch(job, **settings)
        self.start()

    def run(self):
        try:
            for event in self._watch:
                self.events.append(event)
        except regroup.RegroupError as error:
            self.error = error

    def wait_for(self, condition, what):
        processes.wait_until(lambda: any(map(condition, list(self.events))), what, 120)


class PythonWatchTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1)
        self.client = regroup.Client(self.cluster.address)
        self.addCleanup(self.client.close)

    def submit(self):
        return self.client.submit(job_file.small_job(self.output, finetune={"ranks": 1, "steps": 60}))

    def test_of_a_job_goes_on_after_a_restart(self):
        job = self.submit()
        watcher = Watcher(self.client, job, patience_s=60)
        watcher.wait_for(lambda event: event.job.tasks[0].state == "succeeded", "the end of inspect")
        before = len(watcher.events)
        self.cluster.kill_coordinator()
        time.sleep(2)
        self.cluster.start_coordinator()
        watcher.join(300)
        self.assertFalse(watcher.is_alive())
        self.assertIsNone(watcher.error)
        self.assertGreater(len(watcher.events), before)
        last = watcher.events[-1].job
        self.assertIs(last.state, regroup.JobState.SUCCEEDED)
        revisions = [event.job.revision for event in watcher.events]
        self.assertEqual(revisions, sorted(revisions))
        changes = [event.job.revision for event in watcher.events if not event.progress_only]
        self.assertEqual(len(changes), len(set(changes)))
        self.assertFalse(any(event.gap for event in watcher.events))
        shown = self.cluster.job(job.id)
        self.assertEqual(last.revision, int(shown["revision"]))
        self.assertEqual([(task.id, task.state) for task in last.tasks],
                         [(task["name"].split("/")[-1], task["state"].removeprefix("TASK_STATE_").lower())
                          for task in shown["tasks"]])

    def test_every_event_has_the_whole_job(self):
        job = self.submit()
        events = list(self.client.watch(job))
        tasks = [tuple(task.id for task in event.job.tasks) for event in events if len(event.job.tasks) > 1]
        # Tasks of layers are known once inspect has run; none disappears again.
        for earlier, later in zip(tasks, tasks[1:]):
            self.assertLessEqual(set(earlier), set(later))
        self.assertEqual(set(tasks[-1]), {task.id for task in self.client.get(job).tasks})

    def test_a_resume_token_continues_after_its_event(self):
        job = self.submit()
        events = list(self.client.watch(job))
        middle = next(event for event in events if event.job.tasks[0].state == "succeeded")
        resumed = list(self.client.watch(job, resume_token=middle.resume_token))
        self.assertTrue(all(event.job.revision > middle.job.revision for event in resumed))
        self.assertEqual(resumed[-1].job.revision, events[-1].job.revision)

    def test_a_submission_waits_for_a_coordinator_that_restarts(self):
        self.cluster.kill_coordinator()
        with concurrent.futures.ThreadPoolExecutor() as threads:
            submitted = threads.submit(self.submit)
            time.sleep(1)
            # Only now: the kernel ends the coordinator with the thread that starts it.
            self.cluster.start_coordinator()
            job = submitted.result(60)
        self.assertEqual([found.name for found in self.client.list()], [job.name])
        self.client.cancel(job)
        self.client.wait(job)

    def test_ends_once_its_patience_is_over(self):
        watcher = Watcher(self.client, self.submit(), patience_s=1)
        watcher.wait_for(lambda event: True, "the first event")
        self.cluster.kill_coordinator()
        watcher.join(60)
        self.assertIsInstance(watcher.error, regroup.Unavailable)
        self.assertIn(self.cluster.address, str(watcher.error))
        self.cluster.start_coordinator()


if __name__ == "__main__":
    unittest.main(verbosity=2)
