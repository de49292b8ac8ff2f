"""Exports a job to MLflow; needs the extra `mlflow`.

Exporting a job again updates its run: the run is found by its tags, and what is in it is not logged twice.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from regroup.client import Client
from regroup.job import Job, JobState
from regroup.streams import MetricPoint

JOB_TAG = "regroup.job"
CREATED_TAG = "regroup.create_time"
# MLflow takes this many of each in one call.
_MOST_PARAMS = 100
_MOST_METRICS = 1000
_LONGEST_PARAM = 500
_STATUS = {JobState.SUCCEEDED: "FINISHED", JobState.FAILED: "FAILED", JobState.CANCELLED: "KILLED"}


def export(
    client: Client,
    job: str | Job,
    *,
    tracking_uri: str | None = None,
    experiment: str = "regroup",
    with_report: bool = True,
) -> str:
    """Writes a job, finished or not, into its run of the experiment and returns the run's id.

    Params are the keys of the job file with their defaults ("finetune.steps"), metrics the curves of every task
    ("finetune/loss") and the job's figures, tags its id, owner and state. The report, which must be readable on this
    machine, is an artifact unless `with_report` is False. Two exports of one job at the same time may make two runs.
    """
    known = client.get(job)
    tracking = MlflowClient(tracking_uri=tracking_uri)
    run_id = _run_of(tracking, known, experiment)
    _log_params(tracking, run_id, known)
    _log_metrics(tracking, run_id, [*_curves(client.metric_points(known)), *_figures(known)])
    for key, value in _tags_of(known).items():
        tracking.set_tag(run_id, key, value)
    tracking.log_text(run_id, json.dumps(known.resolved_spec, indent=1), "job.json")
    if with_report and known.report_folder:
        folder = client.report_folder(known)
        for name in ("report.json", "report.html"):
            tracking.log_artifact(run_id, str(folder / name), "report")
    if known.state.is_final:
        tracking.set_terminated(run_id, _STATUS[known.state], _milliseconds(known.end_time))
    else:
        tracking.update_run(run_id, status="RUNNING")
    return run_id


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the leaves of nested dicts under their dotted names; a list is one leaf, as JSON."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _run_of(tracking: Any, job: Job, experiment: str) -> str:
    """Returns the id of the job's run, which is created if there is none."""
    created = job.create_time.isoformat() if job.create_time else ""
    found = tracking.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else tracking.create_experiment(experiment)
    # Ids of jobs and times hold no quotes. A deleted job's id may be used again, so the time counts too.
    condition = f"tags.`{JOB_TAG}` = '{job.id}' and tags.`{CREATED_TAG}` = '{created}'"
    runs = tracking.search_runs([experiment_id], condition, max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {JOB_TAG: job.id, CREATED_TAG: created}
    run = tracking.create_run(experiment_id, _milliseconds(job.start_time or job.create_time), tags, run_name=job.id)
    return str(run.info.run_id)


def _tags_of(job: Job) -> dict[str, str]:
    labels = {f"regroup.label.{_allowed(key)}": value for key, value in job.spec.get("labels", {}).items()}
    failure = {"regroup.failure": f"{job.failure.failure_class}: {job.failure.message}"[:5000]} if job.failure else {}
    return {"regroup.owner": job.owner, "regroup.state": job.state.value, **labels, **failure}


def _log_params(tracking: Any, run_id: str, job: Job) -> None:
    """Logs the params that the run lacks; MLflow refuses to change one. job.json has long values whole."""
    present = tracking.get_run(run_id).data.params
    new = [
        Param(_allowed(key), value[:_LONGEST_PARAM])
        for key, value in flatten(job.resolved_spec)
        if _allowed(key) not in present
    ]
    for batch in _batches(new, _MOST_PARAMS):
        tracking.log_batch(run_id, params=batch)


def _log_metrics(tracking: Any, run_id: str, points: Iterable[Metric]) -> None:
    """Logs the points that the run lacks."""
    by_key: dict[str, list[Metric]] = {}
    for point in points:
        by_key.setdefault(point.key, []).append(point)
    for key, wanted in by_key.items():
        present = set(map(_identity_of, tracking.get_metric_history(run_id, key)))
        new = [point for point in wanted if _identity_of(point) not in present]
        for batch in _batches(new, _MOST_METRICS):
            tracking.log_batch(run_id, metrics=batch)


def _curves(points: Iterable[MetricPoint]) -> Iterator[Metric]:
    for point in points:
        yield Metric(_allowed(f"{point.task}/{point.metric}"), point.value, _milliseconds(point.time), point.step)


def _figures(job: Job) -> Iterator[Metric]:
    when = _milliseconds(job.end_time or job.start_time or job.create_time)
    for name, value in job.figures.items():
        yield Metric(_allowed(name), value, when, 0)


def _identity_of(point: Any) -> tuple[int, int, str]:
    """Returns a key of a point; as text, because NaN differs from itself."""
    return point.step, point.timestamp, repr(point.value)


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _allowed(name: str) -> str:
    """Returns the name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)


def _milliseconds(time: datetime.datetime | None) -> int:
    return int(time.timestamp() * 1000) if time else 0
