"""The estimate of a job's cost and savings, made before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from regroup.messages import as_dict
from regroup.v1 import job_service_pb2


@dataclasses.dataclass(frozen=True)
class Plan:
    """Headline figures of a plan. `details` is the whole JobPlan of proto/regroup/v1/plan.proto."""

    source_kv_bytes_per_token: int
    result_kv_bytes_per_token: int
    training_tokens: int
    flops: float
    memory_bytes_per_rank: int
    storage_bytes: int
    notes: tuple[str, ...]
    details: Mapping[str, Any]


def plan_of(message: job_service_pb2.PlanJobResponse) -> Plan:
    """Converts the coordinator's message."""
    return Plan(
        source_kv_bytes_per_token=message.source_kv_bytes_per_token,
        result_kv_bytes_per_token=message.result_kv_bytes_per_token,
        training_tokens=message.training_tokens,
        flops=message.flops,
        memory_bytes_per_rank=message.memory_bytes_per_rank,
        storage_bytes=message.storage_bytes,
        notes=tuple(message.warnings),
        details=as_dict(message.plan),
    )
