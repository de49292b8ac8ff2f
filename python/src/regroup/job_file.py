"""Reads a job, given as a dict, as YAML text or as a file, as strictly as the `regroup` command reads a job file.

Unknown keys, duplicate keys and values of another type are rejected with the key's name, in YAML also with line and
column. Relative paths start at the file's folder, or at the given one. Values are checked by the coordinator.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from regroup import yaml_tree
from regroup.errors import FieldViolation, InvalidRequest
from regroup.v1 import job_pb2
from regroup.yaml_tree import Node, Position

JobSource: TypeAlias = Mapping[str, Any] | str | os.PathLike[str]
# Descriptors have a type of their own in each of protobuf's implementations.
_Descriptor: TypeAlias = Any
_Field: TypeAlias = Any

_MOST_MISTAKES = 20
# Instead of a path, a job may name a model or a text by one of these addresses.
_ADDRESS = re.compile(r"(hf|s3|https)://")
_INTEGER = re.compile(r"\+?-?[0-9]+")
_NUMBER = re.compile(r"\+?-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class JobFile:
    """A job with the position of each of its keys, by paths such as "evaluation.multiple_choice[0].data"."""

    name: str
    spec: job_pb2.JobSpec
    positions: Mapping[str, Position]

    def located(self, error: InvalidRequest) -> InvalidRequest:
        """Returns the coordinator's error with the line and column of each field; unchanged for a dict."""
        if not self.positions or not error.field_violations:
            return error
        lines = "\n".join(self._describe(violation) for violation in error.field_violations)
        return InvalidRequest(
            f"the job file is invalid:\n{lines}",
            code=error.code,
            reason=error.reason,
            field_violations=error.field_violations,
        )

    def _describe(self, violation: FieldViolation) -> str:
        path = violation.field
        while path and path not in self.positions:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return _at(self.name, self.positions.get(path, Position()), f"{violation.field}: {violation.description}")


def read_job(source: JobSource, folder: str | os.PathLike[str] | None = None) -> JobFile:
    """Reads a job. A string with a line break or a "{" at its start is YAML text, another one a path.

    Relative paths in a dict or in a text start at `folder`, by default the current one. Raises InvalidRequest with all
    mistakes, and OSError if the file cannot be read.
    """
    if isinstance(source, Mapping):
        return _parse("the job", lambda: yaml_tree.from_values(source), folder)
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return _parse("job", lambda: yaml_tree.parse(source), folder)
    path = pathlib.Path(source)
    text = _text_of(path)
    return _parse(os.fspath(path), lambda: yaml_tree.parse(text), path.parent if folder is None else folder)


def _text_of(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        content = file.read(yaml_tree.MAXIMUM_BYTES + 1)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None


def _parse(name: str, make_tree: Callable[[], Node], folder: str | os.PathLike[str] | None) -> JobFile:
    reader = _Reader(name, pathlib.Path(os.path.abspath(folder or ".")))
    spec = job_pb2.JobSpec()
    try:
        reader.read(make_tree(), spec)
    except yaml_tree.Refusal as refusal:
        reader.refuse("", refusal.position, str(refusal))
    if not reader.mistakes:
        return JobFile(name, spec, reader.positions)
    lines = "\n".join(mistake for mistake, _ in reader.mistakes)
    raise InvalidRequest(
        f"the job file is invalid:\n{lines}",
        code="INVALID_ARGUMENT",
        field_violations=[violation for _, violation in reader.mistakes],
    )


class _Reader:
    """Fills a message from a tree by its descriptor and collects the mistakes.

    Handles the field types that JobSpec has: strings, booleans, integers, doubles, messages, lists of these, and maps
    from string to string.
    """

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        self.mistakes: list[tuple[str, FieldViolation]] = []
        self.positions: dict[str, Position] = {}
        self._name = name
        self._folder = folder

    def read(self, node: Node, spec: job_pb2.JobSpec) -> None:
        self._mapping(node, "", spec)

    def refuse(self, path: str, position: Position | None, message: str) -> None:
        if len(self.mistakes) < _MOST_MISTAKES:
            self.mistakes.append((_at(self._name, position, message), FieldViolation(path, message)))

    def _mapping(self, node: Node, path: str, message: Message) -> None:
        for key, position, value in node.entries or []:
            below = f"{path}.{key}" if path else key
            field = message.DESCRIPTOR.fields_by_name.get(key)
            if field is None:
                self.refuse(below, position, _unknown_key(key, message.DESCRIPTOR))
                continue
            self._locate(below, position)
            self._field(value, below, field, message)

    def _field(self, node: Node, path: str, field: _Field, message: Message) -> None:
        if _is_map(field):
            self._text_map(node, path, field, message)
        elif field.is_repeated:
            self._list(node, path, field, message)
        elif field.message_type is not None:
            # A section that is written counts as given, even if it is empty.
            section = getattr(message, field.name)
            section.SetInParent()
            self._message(node, path, field, section)
        elif not self._list_of_names(node, path, field, message):
            value = self._scalar(node, path, field)
            if value is not None:
                setattr(message, field.name, value)

    def _message(self, node: Node, path: str, field: _Field, message: Message) -> None:
        if node.entries is None:
            self.refuse(path, node.position, f"{path} is {_expected(field)}, not {_shown(node)}")
        else:
            self._mapping(node, path, message)

    def _list_of_names(self, node: Node, path: str, field: _Field, message: Message) -> bool:
        """Reads a list that is written under `data` as data_files; returns False if the node is none."""
        files = message.DESCRIPTOR.fields_by_name.get(f"{field.name}_files")
        if node.items is None or files is None or len(getattr(message, files.name)) > 0:
            return False
        self._locate(f"{path}_files", node.position)
        self._list(node, f"{path}_files", files, message)
        return True

    def _list(self, node: Node, path: str, field: _Field, message: Message) -> None:
        if node.items is None:
            self.refuse(path, node.position, f"{path} is a list; write [ ... ] instead of {_shown(node)}")
            return
        into = getattr(message, field.name)
        for index, item in enumerate(node.items):
            below = f"{path}[{index}]"
            self._locate(below, item.position)
            if field.message_type is not None:
                self._message(item, below, field, into.add())
                continue
            value = self._scalar(item, below, field)
            if value is not None:
                into.append(value)

    def _text_map(self, node: Node, path: str, field: _Field, message: Message) -> None:
        if node.entries is None:
            self.refuse(path, node.position, f"{path} is a mapping from names to strings, not {_shown(node)}")
            return
        for key, position, value in node.entries:
            self._locate(f"{path}.{key}", position)
            if value.text is None:
                self.refuse(f"{path}.{key}", value.position, f"{path}.{key} is a string, not {_shown(value)}")
            else:
                getattr(message, field.name)[key] = value.text

    def _scalar(self, node: Node, path: str, field: _Field) -> Any:
        """Returns the value, or None if the node has another type."""
        value = _VALUES[field.cpp_type](node) if node.text is not None else None
        if value is None:
            hint = " without quotes" if node.is_quoted and _double(Node(text=node.text)) is not None else ""
            self.refuse(path, node.position, f"{path} is {_expected(field)}{hint}, not {_shown(node)}")
        elif isinstance(value, str) and _is_path(field) and value:
            return self._absolute(value, path, node.position)
        return value

    def _absolute(self, text: str, path: str, position: Position | None) -> str | None:
        if text.startswith("~"):
            self.refuse(path, self.positions.get(path, position), f"{path}: '~' is not expanded; write the whole path")
            return None
        return text if text.startswith("/") or _ADDRESS.match(text) else os.path.normpath(self._folder / text)

    def _locate(self, path: str, position: Position | None) -> None:
        if position is not None:
            self.positions.setdefault(path, position)


def _is_map(field: _Field) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_path(field: _Field) -> bool:
    """True for the keys that name files and folders."""
    return field.name in ("checkpoint", "data", "data_files")


def _string(node: Node) -> str | None:
    return node.text


def _boolean(node: Node) -> bool | None:
    return None if node.is_quoted or node.text not in ("true", "false") else node.text == "true"


def _integer(bits: int) -> Callable[[Node], int | None]:
    def read(node: Node) -> int | None:
        if node.is_quoted or node.text is None or len(node.text) > 20 or not _INTEGER.fullmatch(node.text):
            return None
        value = int(node.text.removeprefix("+"))
        return value if -(1 << (bits - 1)) <= value < 1 << (bits - 1) else None

    return read


def _double(node: Node) -> float | None:
    if node.is_quoted or node.text is None or not _NUMBER.fullmatch(node.text):
        return None
    value = float(node.text.removeprefix("+"))
    return value if math.isfinite(value) else None


_VALUES: dict[int, Callable[[Node], Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _string,
    FieldDescriptor.CPPTYPE_BOOL: _boolean,
    FieldDescriptor.CPPTYPE_INT32: _integer(32),
    FieldDescriptor.CPPTYPE_INT64: _integer(64),
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
}
_TYPE_NAMES = {
    FieldDescriptor.CPPTYPE_STRING: "a string",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "a whole number",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
}


def _expected(field: _Field) -> str:
    if field.message_type is not None:
        return f"a mapping with {_words(list(field.message_type.fields_by_name))}"
    return _TYPE_NAMES[field.cpp_type]


def _shown(node: Node) -> str:
    if node.entries is not None:
        return "a mapping"
    if node.items is not None:
        return "a list"
    if node.text is None:
        return "nothing"
    quote = '"' if node.is_quoted else "'"
    return f"{quote}{node.text[:60]}{'...' if len(node.text) > 60 else ''}{quote}"


def _unknown_key(key: str, descriptor: _Descriptor) -> str:
    elsewhere = _find(job_pb2.JobSpec.DESCRIPTOR, key)
    if elsewhere is not None:
        at_the_top = "" if "." in elsewhere else " at the top of the file"
        return f"unknown key '{key}' here; did you mean '{elsewhere}'{at_the_top}?"
    known = list(descriptor.fields_by_name)
    nearest = difflib.get_close_matches(key, known, n=1)
    return f"unknown key '{key}'; " + (f"did you mean '{nearest[0]}'?" if nearest else f"known here: {_words(known)}")


def _find(descriptor: _Descriptor, key: str) -> str | None:
    """Returns the path of a key of that name anywhere below the message."""
    for field in descriptor.fields:
        if field.name == key:
            return key
        if field.message_type is not None and not _is_map(field):
            below = _find(field.message_type, key)
            if below is not None:
                return f"{field.name}.{below}"
    return None


def _words(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _at(name: str, position: Position | None, message: str) -> str:
    return f"{name}:{position.line}:{position.column}: {message}" if position else f"{name}: {message}"
