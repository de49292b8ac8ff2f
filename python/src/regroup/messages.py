"""Converts protobuf messages into plain Python values."""

from __future__ import annotations

import datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def as_dict(message: Message) -> dict[str, Any]:
    """Returns the fields that are set under their names in the proto file: numbers as numbers, of any size."""
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def time_of(message: Message, field: str) -> datetime.datetime | None:
    """Returns a Timestamp field in UTC; None if it is unset."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(datetime.timezone.utc)


def _plain(field: Any, value: Any) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [as_dict(item) for item in value]
    return as_dict(value)
