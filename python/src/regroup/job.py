"""Jobs and their tasks as immutable values, made from the messages of regroup.v1."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor

from regroup import html
from regroup.messages import as_dict, time_of
from regroup.v1 import job_pb2


class JobState(enum.Enum):
    """State of a job. A state that this client does not know is UNKNOWN, which is not final."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    RUNNING = "running"
    RECOVERING = "recovering"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSING = "pausing"
    PAUSED = "paused"

    @property
    def is_final(self) -> bool:
        """True if the job ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclasses.dataclass(frozen=True)
class Failure:
    """Cause of a failure.

    `failure_class` is a word such as "user", "data" or "infra", and "unknown" for one of a newer release.
    """

    failure_class: str
    message: str
    log_tail: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of an attempt: `done` of `total` units of its phase (a total of 0 is unknown)."""

    phase: str
    done: int
    total: int
    remaining_s: float | None
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of a job. `kind` and `state` are words such as "finetune" and "running"."""

    id: str
    kind: str
    state: str
    epoch: int
    ranks: int
    worker: str
    start_time: datetime.datetime | None
    end_time: datetime.datetime | None
    progress: Progress | None
    failure: Failure | None


@dataclasses.dataclass(frozen=True, repr=False)
class Job:
    """A conversion as the coordinator last described it.

    `figures` are its main results so far, such as "perplexity/source". `spec` is the job file, `resolved_spec` the same
    with every default. A job of `Client.list` has no tasks. `message` is the whole message of the coordinator.
    """

    id: str
    name: str
    state: JobState
    owner: str
    revision: int
    waiting_reason: str
    failure: Failure | None
    create_time: datetime.datetime | None
    start_time: datetime.datetime | None
    end_time: datetime.datetime | None
    tasks: tuple[Task, ...]
    figures: Mapping[str, float]
    warnings: tuple[str, ...]
    report_folder: str
    spec: Mapping[str, Any]
    resolved_spec: Mapping[str, Any]
    message: job_pb2.Job

    def __repr__(self) -> str:
        return f"<regroup.Job {self.id!r}: {self.state.value}>"

    def _repr_html_(self) -> str:
        return html.page_of(self)


def job_of(message: job_pb2.Job) -> Job:
    """Converts the coordinator's message."""
    return Job(
        id=_last_segment(message.name),
        name=message.name,
        state=_state_of(message.state),
        owner=message.owner,
        revision=message.revision,
        waiting_reason=message.waiting_reason,
        failure=_failure_of(message),
        create_time=time_of(message, "create_time"),
        start_time=time_of(message, "start_time"),
        end_time=time_of(message, "end_time"),
        tasks=tuple(_task_of(task) for task in message.tasks),
        figures=dict(message.figures),
        warnings=tuple(message.warnings),
        report_folder=message.report_folder,
        spec=as_dict(message.spec),
        resolved_spec=as_dict(message.resolved_spec),
        message=message,
    )


def _task_of(message: job_pb2.Task) -> Task:
    return Task(
        id=_last_segment(message.name),
        kind=_word(job_pb2.TaskKind.DESCRIPTOR, message.kind, "TASK_KIND_"),
        state=_word(job_pb2.TaskState.DESCRIPTOR, message.state, "TASK_STATE_"),
        epoch=message.epoch,
        ranks=message.ranks,
        worker=_last_segment(message.worker),
        start_time=time_of(message, "start_time"),
        end_time=time_of(message, "end_time"),
        progress=_progress_of(message.progress) if message.HasField("progress") else None,
        failure=_failure_of(message),
    )


def _progress_of(message: job_pb2.Progress) -> Progress:
    remaining = message.remaining.ToTimedelta().total_seconds() if message.HasField("remaining") else None
    return Progress(message.phase, message.done, message.total, remaining, dict(message.metrics))


def _failure_of(message: job_pb2.Job | job_pb2.Task) -> Failure | None:
    if not message.HasField("failure"):
        return None
    failure = message.failure
    word = _word(job_pb2.FailureClass.DESCRIPTOR, failure.failure_class, "FAILURE_CLASS_")
    return Failure(word, failure.message, tuple(failure.log_tail))


def _state_of(number: int) -> JobState:
    return JobState(_word(job_pb2.JobState.DESCRIPTOR, number, "JOB_STATE_"))


def _word(descriptor: EnumDescriptor, number: int, prefix: str) -> str:
    """Returns a value's name in lower case without its prefix; "unknown" for a value of a newer release."""
    value = descriptor.values_by_number.get(number)
    if value is None or number == 0:
        return "unknown"
    return value.name.removeprefix(prefix).lower()


def _last_segment(name: str) -> str:
    return name.rpartition("/")[2]
