"""The calls of a coordinator: submits jobs, follows them, and reads their logs, figures and reports."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc

from regroup.channel import DEFAULT_TARGET, TlsFiles, Token, open_channel, text_of
from regroup.errors import InvalidRequest, JobFailed, RegroupError, TokenExpired, Unavailable, WrongState, from_rpc
from regroup.job import Job, JobState, job_of
from regroup.job_file import JobSource, read_job
from regroup.plan import Plan, plan_of
from regroup.streams import (
    JobEvent,
    JobMirror,
    LogEntry,
    MetricPoint,
    Series,
    curves_of,
    log_entry_of,
    metric_point_of,
)
from regroup.v1 import job_service_pb2, job_service_pb2_grpc

_Answer = TypeVar("_Answer")
_CALL_LIMIT_S = 30.0
# Time for which the coordinator may be unreachable, as for `regroup watch`.
_PATIENCE_S = 10.0
_PAUSE_BEFORE_ANOTHER_TRY_S = 0.5
_LARGEST_PAGE = 1000
# Initial metadata with which the coordinator answers a stream at once, before its first message.
_STREAM_OPENING = "regroup-stream"
_MOST_REPORT_BYTES = 64 << 20


class Client:
    """A connection to one coordinator, or to the leader of several; may be used by any thread.

    What is not given comes from the environment, as for the `regroup` command: REGROUP_COORDINATOR (by default
    127.0.0.1:7447), REGROUP_TOKEN_FILE, REGROUP_TLS_AUTHORITY, REGROUP_TLS_CERTIFICATE and REGROUP_TLS_KEY. An address
    that other machines can reach needs TLS. The certificates are read once: make another client when they were renewed.

    All methods take a job as its id, as "jobs/ID" or as a Job, and raise RegroupError or one of its subclasses. The
    connection is made by the first call. Use the client in a `with` statement, or close it.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        cert_file: str | os.PathLike[str] | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        variable = os.environ.get
        self.target = target or variable("REGROUP_COORDINATOR") or DEFAULT_TARGET
        tls = TlsFiles(
            authority=text_of(ca_file) or variable("REGROUP_TLS_AUTHORITY"),
            certificate=text_of(cert_file) or variable("REGROUP_TLS_CERTIFICATE"),
            key=text_of(key_file) or variable("REGROUP_TLS_KEY"),
        )
        self._token = Token(token, text_of(token_file) or (None if token else variable("REGROUP_TOKEN_FILE")))
        self._channel = open_channel(self.target, tls)
        self._jobs: Any = job_service_pb2_grpc.JobServiceStub(self._channel)

    def __repr__(self) -> str:
        return f"<regroup.Client of {self.target}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and all streams."""
        self._channel.close()

    def submit(
        self,
        job: JobSource,
        *,
        job_id: str = "",
        request_id: str = "",
        validate_only: bool = False,
        folder: str | os.PathLike[str] | None = None,
    ) -> Job:
        """Submits a job file: a dict, YAML text (a string with a line break, or with "{" in front), or a file's path.

        Relative paths start at the file's folder; those of a dict or a text start at `folder`, by default the current
        one. The same `request_id` with the same job returns the first job. By default it is random, so that the call
        can be repeated, for 10 s, while the coordinator cannot be reached. With `validate_only` nothing is accepted and
        the job has no id.
        """
        file = read_job(job, folder)
        request = job_service_pb2.SubmitJobRequest(
            job_id=job_id,
            spec=file.spec,
            request_id=request_id or f"python-{uuid.uuid4().hex}",
            validate_only=validate_only,
        )
        try:
            return job_of(self._repeat(lambda: self._call(self._jobs.SubmitJob, request)))
        except InvalidRequest as error:
            raise file.located(error) from None

    def plan(self, job: JobSource, *, folder: str | os.PathLike[str] | None = None) -> Plan:
        """Estimates what a job, given as for `submit`, needs and saves; the coordinator opens the source's files."""
        file = read_job(job, folder)
        try:
            return plan_of(self._call(self._jobs.PlanJob, job_service_pb2.PlanJobRequest(spec=file.spec)))
        except InvalidRequest as error:
            raise file.located(error) from None

    def get(self, job: str | Job) -> Job:
        """Returns the job with its tasks."""
        return job_of(self._call(self._jobs.GetJob, job_service_pb2.GetJobRequest(name=_name_of(job))))

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        labels: Mapping[str, str] | None = None,
        owner: str = "",
        limit: int = 50,
    ) -> tuple[Job, ...]:
        """Returns at most `limit` jobs without their tasks, newest first: those in `states` and with all `labels`."""
        names = [f"JOB_STATE_{state.name}" for state in states]
        request = job_service_pb2.ListJobsRequest(states=names, labels=labels or {}, owner=owner)
        found: tuple[Job, ...] = ()
        while len(found) < limit:
            request.page_size = min(limit - len(found), _LARGEST_PAGE)
            page = self._call(self._jobs.ListJobs, request)
            found += tuple(map(job_of, page.jobs))
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        return found

    def cancel(self, job: str | Job) -> Job:
        """Stops a job; one in a final state is returned unchanged."""
        return job_of(self._call(self._jobs.CancelJob, job_service_pb2.CancelJobRequest(name=_name_of(job))))

    def retry(self, job: str | Job) -> Job:
        """Restarts the unfinished tasks of a failed or cancelled job."""
        return job_of(self._call(self._jobs.RetryJob, job_service_pb2.RetryJobRequest(name=_name_of(job))))

    def pause(self, job: str | Job) -> Job:
        """Stops a job's tasks, training after a checkpoint, until `resume`."""
        return job_of(self._call(self._jobs.PauseJob, job_service_pb2.PauseJobRequest(name=_name_of(job))))

    def resume(self, job: str | Job) -> Job:
        """Lets a paused job go on from its last checkpoint."""
        return job_of(self._call(self._jobs.ResumeJob, job_service_pb2.ResumeJobRequest(name=_name_of(job))))

    def delete(self, job: str | Job) -> None:
        """Deletes a job in a final state with its logs and working files. A published checkpoint stays."""
        self._call(self._jobs.DeleteJob, job_service_pb2.DeleteJobRequest(name=_name_of(job)))

    def watch(
        self, job: str | Job, *, resume_token: str = "", patience_s: float = _PATIENCE_S, timeout_s: float | None = None
    ) -> Iterator[JobEvent]:
        """Yields the job's current state, then every change until it is final.

        After a broken connection it connects again and continues after the last event. Raises Unavailable if the
        coordinator has not been heard of for `patience_s`, and TimeoutError after `timeout_s`. With the `resume_token`
        of an event only later changes follow, and tasks that have not changed since are missing.
        """
        token = resume_token
        mirror = JobMirror()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        heard = time.monotonic()

        def note_open() -> None:
            nonlocal heard
            heard = time.monotonic()

        while True:
            try:
                request = job_service_pb2.WatchJobRequest(name=_name_of(job), resume_token=token)
                for message in self._stream(self._jobs.WatchJob, request, deadline, note_open):
                    event = mirror.apply(message)
                    token = event.resume_token or token
                    yield event
                    heard = time.monotonic()
                    if event.job.state.is_final:
                        return
                error: RegroupError = Unavailable("the coordinator ended the stream of events")
            except TokenExpired as expired:
                token, mirror, error = "", JobMirror(), expired
            except Unavailable as unreachable:
                error = unreachable
            _check_deadline(deadline, job)
            if time.monotonic() - heard > patience_s:
                raise error
            time.sleep(_PAUSE_BEFORE_ANOTHER_TRY_S)

    def wait(self, job: str | Job, *, timeout_s: float | None = None, check: bool = False) -> Job:
        """Returns the job once it is final. Raises TimeoutError, and with `check` JobFailed if it did not succeed."""
        last = None
        for event in self.watch(job, patience_s=60.0, timeout_s=timeout_s):
            last = event.job
        if last is None:
            raise Unavailable("the coordinator ended the stream of events")
        if check and last.state is not JobState.SUCCEEDED:
            raise JobFailed(last)
        return last

    def logs(
        self,
        job: str | Job,
        *,
        task: str = "",
        ranks: Sequence[int] = (),
        min_severity: str = "",
        since: datetime.datetime | None = None,
        tail_lines: int = 0,
        follow: bool = False,
    ) -> Iterator[LogEntry]:
        """Yields log lines: those of one task, of some ranks, of a severity (debug, info, warning, error) and above.

        `tail_lines` shows only the last N lines first. With `follow` the stream ends when the job does.
        """
        request = job_service_pb2.StreamLogsRequest(
            name=_name_of(job),
            task=task,
            ranks=ranks,
            min_severity=_severity_of(min_severity) if min_severity else None,
            tail_lines=tail_lines,
            follow=follow,
        )
        if since is not None:
            request.since.FromDatetime(since.astimezone(datetime.timezone.utc))
        return map(log_entry_of, self._stream(self._jobs.StreamLogs, request))

    def metric_points(
        self, job: str | Job, *, metrics: Sequence[str] = (), after_step: int = 0, follow: bool = False
    ) -> Iterator[MetricPoint]:
        """Yields the points of all tasks' curves in the order in which they arrived."""
        request = job_service_pb2.StreamMetricsRequest(
            name=_name_of(job), metrics=metrics, after_step=after_step, follow=follow
        )
        return map(metric_point_of, self._stream(self._jobs.StreamMetrics, request))

    def metrics(
        self, job: str | Job, *, task: str = "finetune", metrics: Sequence[str] = (), after_step: int = 0
    ) -> dict[str, Series]:
        """Returns the curves of one task so far: for each metric its steps and values.

        Of a step that a restarted task repeated, the last attempt's value counts. A layerwise task counts steps anew
        for each of its layers: use `metric_points` for these.
        """
        points = self.metric_points(job, metrics=metrics, after_step=after_step)
        return curves_of(point for point in points if point.task == task)

    def report(self, job: str | Job) -> dict[str, Any]:
        """Returns a job's report.json, from the shared file system. Raises WrongState as long as it has no report."""
        folder = self.report_folder(job)
        with open(folder / "report.json", "rb") as file:
            content = file.read(_MOST_REPORT_BYTES + 1)
        if len(content) > _MOST_REPORT_BYTES:
            raise RegroupError(f"{folder}/report.json has more than {_MOST_REPORT_BYTES} bytes")
        report = json.loads(content)
        if not isinstance(report, dict):
            raise RegroupError(f"{folder}/report.json is not a JSON object")
        return report

    def report_folder(self, job: str | Job) -> pathlib.Path:
        """Returns the folder with report.json and report.html. Raises WrongState as long as the job has none."""
        known = self.get(job)
        if not known.report_folder:
            raise WrongState(f"{known.name} is {known.state.value} and has no report")
        return pathlib.Path(known.report_folder)

    def _call(self, method: Callable[..., _Answer], request: Any) -> _Answer:
        try:
            return method(request, timeout=_CALL_LIMIT_S, metadata=self._token.metadata())
        except grpc.RpcError as error:
            raise from_rpc(error, self.target) from None

    def _repeat(self, call: Callable[[], _Answer]) -> _Answer:
        """Makes a call that is safe to repeat, until the coordinator answers or its patience is over."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return call()
            except Unavailable:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE_BEFORE_ANOTHER_TRY_S)

    def _stream(
        self,
        method: Callable[..., Any],
        request: Any,
        deadline: float | None = None,
        note_open: Callable[[], None] = lambda: None,
    ) -> Iterator[Any]:
        """Yields the messages of a stream; leaving it early cancels the call.

        Calls `note_open` at the end of a stream that the coordinator had opened, however long it was silent.
        """
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        call = method(request, timeout=timeout, metadata=self._token.metadata())
        try:
            yield from call
            note_open()
        except grpc.RpcError as error:
            if any(key == _STREAM_OPENING for key, _ in call.initial_metadata() or ()):
                note_open()
            raise from_rpc(error, self.target) from None
        finally:
            call.cancel()


def _name_of(job: str | Job) -> str:
    name = job.name if isinstance(job, Job) else job
    return name if name.startswith("jobs/") else f"jobs/{name}"


def _severity_of(word: str) -> str:
    """Returns the name of the enum's value."""
    if word.lower() not in ("debug", "info", "warning", "error"):
        raise InvalidRequest("min_severity must be debug, info, warning or error")
    return f"LOG_SEVERITY_{word.upper()}"


def _check_deadline(deadline: float | None, job: str | Job) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeoutError(f"{_name_of(job)} is not final yet")
