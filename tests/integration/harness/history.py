"""Records the events that watchers of a job received, and checks what must hold of them."""

import json
import os
import subprocess

from harness import places, processes


class History:
    """Follows a job from now to its end, through restarts and outages of the coordinator."""

    def __init__(self, cluster, job):
        self.job = job
        self._process = processes.start([*cluster.prefix(), places.PROGRAMS / "regroup", "watch", job, "--json"],
                                        env={**os.environ, **cluster.environment()}, stdout=subprocess.PIPE, text=True)

    def events(self):
        """Returns all events, once the job has ended."""
        text, _ = self._process.communicate(timeout=120)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def stop(self):
        if self._process.poll() is None:
            processes.kill_now(self._process)
        self._process.stdout.close()

    def violations(self):
        """Returns violations as sentences; none if every result was applied once and epochs only grew."""
        found, seen = [], {}
        for event in self.events():
            if event.get("progress_only"):
                continue
            for task in event["job"].get("tasks", []):
                before = seen.get(task["name"])
                if before and not event.get("gap"):
                    found += _what_is_wrong(before, task)
                seen[task["name"]] = task
        return found


def _what_is_wrong(before, after):
    epochs = int(before.get("epoch", 0)), int(after.get("epoch", 0))
    change = f"{after['name']}: {before['state']} of epoch {epochs[0]}, then {after['state']} of epoch {epochs[1]}"
    if before["state"] == "TASK_STATE_SUCCEEDED":
        # The first event of a stream that came back has every task.
        if (after["state"], epochs[1]) != (before["state"], epochs[0]):
            yield f"a result was not final: {change}"
    elif not epochs[0] <= epochs[1] <= epochs[0] + 1:
        yield f"epochs do not grow one by one: {change}"


def accepted_successes(logs):
    """Returns (job, task) -> epochs whose success the coordinator accepted, from the workers' logs (JSON lines)."""
    accepted = {}
    for line in _lines(logs):
        if line.get("message") == "attempt ended" and line.get("outcome") == "SUCCEEDED":
            accepted.setdefault((line["job"], line["task"]), set()).add(line["epoch"])
    return accepted


def refused_ends(logs):
    """Returns (job, task, epoch) of attempts whose end was reported too late, from the workers' logs."""
    words = ("the coordinator rejected the outcome; discarding it", "the result was not published")
    return [(line["job"], line["task"], line["epoch"]) for line in _lines(logs)
            if line.get("message") in words and " is over; " in line.get("reason", "")]


def _lines(logs):
    for log in logs:
        for text in log.read_text(errors="replace").splitlines():
            if text.startswith("{"):
                yield json.loads(text)
