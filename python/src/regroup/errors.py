"""Errors of calls, with the coordinator's reason and the fields at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from regroup.printable import printable

if TYPE_CHECKING:
    from regroup.job import Job

_DETAILS_HEADER = "grpc-status-details-bin"


@dataclasses.dataclass(frozen=True)
class FieldViolation:
    """One invalid field: its path in the job file, such as "finetune.steps", and what to write instead."""

    field: str
    description: str


class RegroupError(Exception):
    """An error of a call or of a job file.

    `code` is the name of the gRPC status, such as "NOT_FOUND". `reason` is the name of a value of
    regroup.v1.ErrorReason, such as "WRONG_STATE", and empty for an error that the coordinator did not send. Programs
    should rely on these and on `field_violations`; the message is for people.
    """

    def __init__(
        self, message: str, *, code: str = "", reason: str = "", field_violations: Sequence[FieldViolation] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.field_violations = tuple(field_violations)

    def __str__(self) -> str:
        return printable(super().__str__(), line_end="\n")


class InvalidRequest(RegroupError):  # noqa: N818
    """The job file or another argument is invalid; `field_violations` names the fields."""


class NotFound(RegroupError):  # noqa: N818
    """The job or task does not exist, or belongs to another owner."""


class AlreadyExists(RegroupError):  # noqa: N818
    """The job's id, or the request id with another body, was used before."""


class WrongState(RegroupError):  # noqa: N818
    """The job's state does not allow the call."""


class Unavailable(RegroupError):  # noqa: N818
    """The coordinator cannot be reached, or cannot serve calls at present."""


class TokenExpired(RegroupError):  # noqa: N818
    """A resume token or a page token refers to data that is no longer kept."""


class JobFailed(RegroupError):  # noqa: N818
    """`Client.wait` with check=True found that the job did not succeed; `job` is its last state."""

    def __init__(self, job: Job) -> None:
        cause = f": {job.failure.message}" if job.failure else ""
        super().__init__(f"{job.name} is {job.state.value}{cause}")
        self.job = job


_TYPES: dict[grpc.StatusCode, type[RegroupError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.OUT_OF_RANGE: TokenExpired,
}


def from_rpc(error: grpc.RpcError, target: str) -> RegroupError:
    """Converts an error of grpc; one without a reason of the coordinator says which address could not be reached."""
    if not isinstance(error, grpc.Call):
        return RegroupError(str(error))
    code, message = error.code(), error.details() or ""
    reason, violations = _details_of(error)
    if not reason and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        message = f"cannot reach the coordinator at {target} ({message})"
        return Unavailable(message, code=code.name)
    return _TYPES.get(code, RegroupError)(message, code=code.name, reason=reason, field_violations=violations)


def _details_of(error: grpc.Call) -> tuple[str, list[FieldViolation]]:
    """Returns the reason and the violations; details that cannot be parsed count as none."""
    reason, violations = "", []
    trailer = dict(error.trailing_metadata() or ()).get(_DETAILS_HEADER, b"")
    try:
        details = status_pb2.Status.FromString(trailer).details
        for detail in details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad):
                violations += [FieldViolation(each.field, each.description) for each in bad.field_violations]
    except DecodeError:
        return "", []
    return reason, violations
