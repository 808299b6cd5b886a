"""A stored state taken apart without LangGraph: who said what, in the bytes that the saver's tables hold.

A saver stores a channel as msgpack; an object stands there as an extension that names its class and holds its fields.
Only those names and fields are read: nothing is imported, nothing is constructed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ormsgpack


@dataclass(frozen=True, slots=True)
class Said:
    """``turns``: the ids of what people said, in order; ``answers``: the ids of what was answered, once an answer."""

    turns: tuple[str, ...]
    answers: tuple[str, ...]


def said_in(kind: str, blob: bytes) -> Said | None:
    """The conversation in a ``messages`` blob of type ``kind``; None if these bytes are not one."""
    messages = _unpacked(kind, blob)
    if not isinstance(messages, list):
        return None
    turns: list[str] = []
    answers: list[str] = []
    for message in messages:
        fields = _fields(message)
        if fields is None:
            return None
        if fields.get("type") == "human":
            turns.append(str(fields.get("id")))
        elif fields.get("type") == "ai" and not fields.get("tool_calls") and turns:
            answers.append(turns[-1])
    return Said(tuple(turns), tuple(answers))


def texts_in(kind: str, blob: bytes) -> tuple[str, ...] | None:
    """The strings in a blob that is a list of them; None if it is anything else."""
    items = _unpacked(kind, blob)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return None
    return tuple(items)


def _unpacked(kind: str, blob: bytes) -> object:
    if kind != "msgpack":
        return None
    try:
        return ormsgpack.unpackb(blob, ext_hook=_extension, option=ormsgpack.OPT_NON_STR_KEYS)
    except (ValueError, RecursionError):  # ormsgpack.MsgpackDecodeError is a ValueError
        return None


def _extension(_code: int, data: bytes) -> Any:
    return ormsgpack.unpackb(data, ext_hook=_extension, option=ormsgpack.OPT_NON_STR_KEYS)


def _fields(message: object) -> Mapping[str, Any] | None:
    """The fields of a stored object: it stands there as (module, class, fields, ...)."""
    if not isinstance(message, Sequence) or isinstance(message, str | bytes) or len(message) < 3:
        return None
    fields = message[2]
    return fields if isinstance(fields, Mapping) and "type" in fields else None
