"""Values that the coordinator streams: events of a job, log lines, and points of training curves."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from regroup.job import Job, job_of
from regroup.messages import time_of
from regroup.v1 import job_pb2, job_service_pb2

if TYPE_CHECKING:
    import numpy


@dataclasses.dataclass(frozen=True)
class JobEvent:
    """One change of a job. `job` is the whole job after it.

    Watching again with `resume_token` continues after this event. `gap` is True if changes before it are no longer
    kept, `progress_only` if nothing but progress changed.
    """

    job: Job
    resume_token: str
    gap: bool
    progress_only: bool


@dataclasses.dataclass(frozen=True)
class LogEntry:
    """One line that a rank of a task wrote. `severity` is debug, info, warning or error."""

    time: datetime.datetime | None
    severity: str
    task: str
    epoch: int
    rank: int
    worker: str
    message: str


@dataclasses.dataclass(frozen=True)
class MetricPoint:
    """The value of one metric at one step of a task. `epoch` is the attempt that reported it."""

    task: str
    metric: str
    step: int
    value: float
    time: datetime.datetime | None
    epoch: int


class Series(NamedTuple):
    """One curve: a value for each step."""

    steps: list[int]
    values: list[float]

    def numpy(self) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float64]]:
        """Returns both as arrays; needs numpy."""
        import numpy as np

        return np.asarray(self.steps, dtype=np.int64), np.asarray(self.values, dtype=np.float64)


class JobMirror:
    """Rebuilds the whole job from its events.

    The first one without a resume token, and one after a gap, has all tasks; others have the changed ones.
    """

    def __init__(self) -> None:
        self._job = job_pb2.Job()

    def apply(self, event: job_service_pb2.JobEvent) -> JobEvent:
        """Applies an event."""
        if event.gap:
            self._job = event.job
        elif event.job.revision >= self._job.revision:
            self._job = _merged(self._job, event.job)
        return JobEvent(job_of(self._job), event.resume_token, event.gap, event.progress_only)


def _merged(before: job_pb2.Job, change: job_pb2.Job) -> job_pb2.Job:
    """Returns the changed job: changed tasks take the place of the old ones, new ones are appended."""
    tasks = {task.name: task for task in before.tasks} | {task.name: task for task in change.tasks}
    after = job_pb2.Job()
    after.CopyFrom(change)
    del after.tasks[:]
    after.tasks.extend(tasks.values())
    return after


def log_entry_of(message: job_service_pb2.LogEntry) -> LogEntry:
    """Converts the coordinator's message."""
    severity = job_service_pb2.LogSeverity.DESCRIPTOR.values_by_number.get(message.severity)
    word = severity.name.removeprefix("LOG_SEVERITY_").lower() if severity else "unspecified"
    return LogEntry(
        time_of(message, "time"), word, message.task, message.epoch, message.rank, message.worker, message.message
    )


def metric_point_of(message: job_service_pb2.MetricPoint) -> MetricPoint:
    """Converts the coordinator's message."""
    time = time_of(message, "time")
    return MetricPoint(message.task, message.metric, message.step, message.value, time, message.epoch)


def curves_of(points: Iterable[MetricPoint]) -> dict[str, Series]:
    """Returns a curve for each metric of one task, by step. Of a step that was repeated the last attempt counts."""
    latest: dict[str, dict[int, MetricPoint]] = {}
    for point in points:
        curve = latest.setdefault(point.metric, {})
        known = curve.get(point.step)
        if known is None or point.epoch >= known.epoch:
            curve[point.step] = point
    return {metric: _series(curve) for metric, curve in latest.items()}


def _series(curve: dict[int, Any]) -> Series:
    steps = sorted(curve)
    return Series(steps, [curve[step].value for step in steps])
