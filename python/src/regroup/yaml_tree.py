"""Parses the strict subset of YAML that job files use into a tree with positions.

One document of mappings, sequences and scalars. Anchors, aliases, tags, duplicate keys, more than 16 levels and more
than 1 MiB are rejected, as services/common/job_file/yaml_tree.h does. A tree can also be made from Python values.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

MAXIMUM_BYTES = 1 << 20
MAXIMUM_DEPTH = 16
_NULLS = ("", "~", "null", "Null", "NULL")


@dataclasses.dataclass(frozen=True)
class Position:
    """Line and column, counted from 1."""

    line: int = 1
    column: int = 1


@dataclasses.dataclass
class Node:
    """A value: `text` of a scalar, `items` of a sequence or `entries` of a mapping; none of them for null."""

    position: Position | None = None
    text: str | None = None
    is_quoted: bool = False
    items: list[Node] | None = None
    entries: list[tuple[str, Position | None, Node]] | None = None

    @property
    def is_null(self) -> bool:
        """True if the node has no value."""
        return self.text is None and self.items is None and self.entries is None


class Refusal(Exception):  # noqa: N818
    """A mistake that ends parsing."""

    def __init__(self, position: Position | None, message: str) -> None:
        super().__init__(message)
        self.position = position


def parse(text: str) -> Node:
    """Reads the text of a job file. Raises Refusal with the position of what is outside of the subset."""
    _check_characters(text)
    try:
        root = _document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise Refusal(_at(error.problem_mark), f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise Refusal(Position(), f"not valid YAML: {error}") from None
    if root.entries is None and not root.is_null:
        raise Refusal(root.position, "a job file is a mapping; start with 'name: ...'")
    return Node(root.position, entries=root.entries or [])


def from_values(value: object, depth: int = 0) -> Node:
    """Makes a tree from a dict of dicts, lists, strings, numbers, booleans and paths."""
    if depth > MAXIMUM_DEPTH:
        raise Refusal(None, f"more than {MAXIMUM_DEPTH} levels of nesting")
    if isinstance(value, Mapping):
        return Node(entries=[(_key(key), None, from_values(item, depth + 1)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return Node(items=[from_values(item, depth + 1) for item in value])
    if value is None:
        return Node()
    if isinstance(value, (str, os.PathLike)):
        return Node(text=os.fspath(value), is_quoted=True)
    if isinstance(value, bool):
        return Node(text=str(value).lower())
    if isinstance(value, numbers.Integral):
        return Node(text=str(int(value)))
    if isinstance(value, numbers.Real):
        return Node(text=repr(float(value)))
    raise Refusal(None, f"a value of type {type(value).__name__} has no place in a job")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise Refusal(None, f"a key must be a string, not {key!r}")


def _check_characters(text: str) -> None:
    size = len(text.encode("utf-8", errors="surrogatepass"))
    if size > MAXIMUM_BYTES:
        raise Refusal(Position(), f"the file has {size} bytes; a job file has at most {MAXIMUM_BYTES}")
    for line, content in enumerate(text.split("\n"), 1):
        for column, character in enumerate(content, 1):
            if character < " " and character not in "\r\t":
                raise Refusal(
                    Position(line, column), f"control character 0x{ord(character):02x}; a job file is plain text"
                )


def _document(events: Iterator[Any]) -> Node:
    root = Node(Position())
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Refusal(_at(event.start_mark), "a job file holds one document; remove the second '---'")
        elif isinstance(event, yaml.NodeEvent):
            root = _node(event, events, 1)
    return root


def _node(event: Any, events: Iterator[Any], depth: int) -> Node:
    position = _at(event.start_mark)
    if isinstance(event, yaml.AliasEvent):
        raise Refusal(position, "aliases (*name) are not allowed; write the value itself")
    if event.anchor is not None:
        raise Refusal(position, "anchors (&name) are not allowed; write the value where it is used")
    if event.tag is not None and event.tag != "!":
        raise Refusal(position, f"tags are not allowed; remove '{event.tag}'")
    if isinstance(event, yaml.ScalarEvent):
        is_quoted = event.style is not None or event.tag == "!"
        if not is_quoted and event.value in _NULLS:
            return Node(position)
        return Node(position, text=event.value, is_quoted=is_quoted)
    if depth > MAXIMUM_DEPTH:
        raise Refusal(position, f"more than {MAXIMUM_DEPTH} levels of nesting")
    if isinstance(event, yaml.SequenceStartEvent):
        return Node(position, items=list(_items(events, depth)))
    return Node(position, entries=_entries(events, depth))


def _items(events: Iterator[Any], depth: int) -> Iterator[Node]:
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            return
        yield _node(event, events, depth + 1)


def _entries(events: Iterator[Any], depth: int) -> list[tuple[str, Position | None, Node]]:
    entries: list[tuple[str, Position | None, Node]] = []
    lines: dict[str, int] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        key = _node(event, events, depth + 1)
        if key.text is None or key.position is None:
            raise Refusal(key.position, "a key must be plain text")
        if key.text in lines:
            raise Refusal(key.position, f"duplicate key '{key.text}'; it is already given at line {lines[key.text]}")
        lines[key.text] = key.position.line
        value = _node(next(events), events, depth + 1)
        if value.is_null:
            # A value that is not written has no place of its own.
            value.position = key.position
        entries.append((key.text, key.position, value))
    return entries


def _at(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark is not None else Position()
