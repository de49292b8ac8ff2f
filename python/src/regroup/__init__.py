"""Client of a Regroup coordinator: submits conversions, follows them and reads their figures."""

from regroup.client import Client
from regroup.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidRequest,
    JobFailed,
    NotFound,
    RegroupError,
    TokenExpired,
    Unavailable,
    WrongState,
)
from regroup.job import Failure, Job, JobState, Progress, Task
from regroup.plan import Plan
from regroup.streams import JobEvent, LogEntry, MetricPoint, Series

__all__ = [
    "AlreadyExists",
    "Client",
    "Failure",
    "FieldViolation",
    "InvalidRequest",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobState",
    "LogEntry",
    "MetricPoint",
    "NotFound",
    "Plan",
    "Progress",
    "RegroupError",
    "Series",
    "Task",
    "TokenExpired",
    "Unavailable",
    "WrongState",
]
