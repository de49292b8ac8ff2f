"""Shows a job in a notebook. A job's text is not trusted: it is escaped, and hidden characters are made visible."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from regroup.printable import printable

if TYPE_CHECKING:
    from regroup.job import Job, Task


def page_of(job: Job) -> str:
    """Returns the job's state, its figures and its tasks as HTML without scripts and styles."""
    parts = [f"<p><b>{_text(job.id)}</b> is {_text(job.state.value)}</p>"]
    if job.waiting_reason:
        parts.append(f"<p>{_text(job.waiting_reason)}</p>")
    if job.failure:
        parts.append(f"<p>{_text(job.failure.failure_class)}: {_text(job.failure.message)}</p>")
    parts += [f"<p>warning: {_text(warning)}</p>" for warning in job.warnings]
    if job.figures:
        rows = [(name, f"{value:.6g}") for name, value in sorted(job.figures.items())]
        parts.append(_table(("figure", "value"), rows))
    if job.tasks:
        parts.append(_table(("task", "state", "attempt", "worker", "progress"), map(_row_of, job.tasks)))
    return "\n".join(parts)


def _row_of(task: Task) -> Sequence[str]:
    progress = task.progress
    done = f"{progress.phase} {progress.done}/{progress.total or '?'}" if progress and progress.phase else ""
    return (task.id, task.state, str(task.epoch or ""), task.worker, done)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return html.escape(printable(text))
