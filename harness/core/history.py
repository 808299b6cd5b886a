"""The history: the append-only record of everything that happened in one cell.

Operations follow Jepsen: a call is one row when it is invoked and one when it completes as ``ok`` (it happened),
``fail`` (it certainly did not) or ``info`` (unknown: it may have happened, or may still happen). Faults, health
checks, saver calls, samples and phases are rows of the same history, on the same clock. ``docs/history.md`` lists every
``f`` with its value's keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from operator import itemgetter
from typing import Any, overload

from harness.core.errors import UsageError
from harness.core.shape import build, loads, shown
from harness.core.verdict import Json

SCHEMA = 1

#: The kinds of call that a user makes of an agent; each is one ``f`` of the history.
CALLS = ("turn", "restore", "resume", "fork", "delete")


class OpType(StrEnum):
    """How far an operation is, or how it ended."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """One exception with its whole graph.

    ``links`` lists every exception reachable over cause, context (even if suppressed) and group members, the
    top one excluded, each as (relation, class name, message). ``classes`` are the class names of the top exception's
    MRO up to ``BaseException``, so that a checker can ask "is it an OperationalError" of a text file. ``pool_closed``
    is true if the top exception or any link is an instance of ``psycopg_pool.PoolClosed``; ``declared`` is true if
    the top one is an instance of a class in the strategy's ``errors`` and no link is PoolClosed.
    """

    type: str
    message: str
    classes: tuple[str, ...] = ()
    links: tuple[tuple[str, str, str], ...] = ()
    pool_closed: bool = False
    declared: bool = False

    def to_json(self) -> dict[str, Json]:
        """The JSON form that stands in ``history.jsonl``."""
        return {
            "type": self.type,
            "message": self.message,
            "classes": list(self.classes),
            "links": [list(link) for link in self.links],
            "pool_closed": self.pool_closed,
            "declared": self.declared,
        }

    @classmethod
    def from_json(cls, data: dict[str, Json]) -> ErrorInfo:
        """The inverse of :meth:`to_json`; UsageError on anything else."""
        whole = _whole_error(data)
        return build(cls, data, "error") if whole is None else whole


def _whole_error(data: Any) -> ErrorInfo | None:
    """The error, if ``data`` has every field as ``to_json`` writes it; else None: :func:`build` says what is wrong."""
    try:
        kind, message, classes, links, pool_closed, declared = _OF_AN_ERROR(data)
    except (KeyError, TypeError):
        return None
    texts = [kind, message]
    if not (type(classes) is type(links) is list and type(pool_closed) is type(declared) is bool):
        return None
    texts += classes
    for link in links:
        if type(link) is not list or len(link) != 3:
            return None
        texts += link
    if set(map(type, texts)) != {str} or type(data) is not dict or len(data) != 6:
        return None
    return ErrorInfo(kind, message, tuple(classes), tuple(map(tuple, links)), pool_closed, declared)


_OF_AN_ERROR = itemgetter("type", "message", "classes", "links", "pool_closed", "declared")


@dataclass(frozen=True, slots=True)
class Op:
    """One row: what (``f``), by whom (``process``), when (``time_s`` on the cell's clock), how far, with what value.

    ``call`` pairs an invocation with its completion and is unique in the cell; rows that are points in time (samples,
    phases, log records) are ``info`` rows without a call.
    """

    index: int
    time_s: float
    type: OpType
    f: str
    process: str
    call: int | None
    value: dict[str, Json]
    error: ErrorInfo | None = None

    def to_json(self) -> dict[str, Json]:
        """The JSON form that stands in ``history.jsonl``, one object a line."""
        row: dict[str, Json] = {
            "index": self.index,
            "time_s": round(self.time_s, 6),
            "type": self.type.value,
            "f": self.f,
            "process": self.process,
            "value": self.value,
        }
        if self.call is not None:
            row["call"] = self.call
        if self.error is not None:
            row["error"] = self.error.to_json()
        return row

    @classmethod
    def from_json(cls, data: dict[str, Json]) -> Op:
        """The inverse of :meth:`to_json`; UsageError with field, value and what is allowed on anything else."""
        if not isinstance(data, dict):
            raise UsageError(f"is {shown(data)}; allowed: an object")
        if not data.keys() <= _FIELDS:
            name = min(data.keys() - _FIELDS)
            raise UsageError(f"has a field {shown(name)}; allowed: {', '.join(sorted(_FIELDS))}")
        for name, kinds, allowed in _KINDS:
            value = data.get(name)
            if type(value) not in kinds:
                raise UsageError(f"{name} is {shown(value)}; allowed: {allowed}")
        call, error = data.get("call"), data.get("error")
        if call is not None and type(call) is not int:
            raise UsageError(f"call is {shown(call)}; allowed: a whole number, or none")
        if data["type"] not in _TYPES:
            raise UsageError(f"type is {shown(data['type'])}; allowed: {', '.join(_TYPES)}")
        return cls(
            index=data["index"],  # type: ignore[arg-type]
            time_s=float(data["time_s"]),  # type: ignore[arg-type]
            type=_TYPES[data["type"]],
            f=data["f"],  # type: ignore[arg-type]
            process=data["process"],  # type: ignore[arg-type]
            call=call,
            value=data["value"],  # type: ignore[arg-type]
            error=None if error is None else ErrorInfo.from_json(error),  # type: ignore[arg-type]
        )


_TYPES = {str(kind.value): kind for kind in OpType}
_FIELDS = frozenset({"index", "time_s", "type", "f", "process", "call", "value", "error"})
#: JSON's own types, which have no subclasses: a bool is no number here.
_KINDS: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("index", (int,), "a whole number"),
    ("time_s", (float, int), "seconds"),
    ("type", (str,), ", ".join(_TYPES)),
    ("f", (str,), "a text"),
    ("process", (str,), "a text"),
    ("value", (dict,), "an object"),
)


class History(Sequence[Op]):
    """An immutable sequence of operations in the order in which they were recorded.

    ``torn`` says that the file ended in the middle of a row (the writer died): the tail is dropped, the rest stands.
    """

    def __init__(self, ops: Iterable[Op] = (), *, torn: bool = False) -> None:
        self._ops = tuple(ops)
        self.torn = torn

    @overload
    def __getitem__(self, index: int) -> Op: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Op, ...]: ...
    def __getitem__(self, index: int | slice) -> Op | tuple[Op, ...]:
        return self._ops[index]

    def __len__(self) -> int:
        return len(self._ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops)  # a sequence's own asks for one index after the other

    @cached_property
    def completions(self) -> dict[int, Op]:
        """The completion of each call that has one, by call number."""
        return {op.call: op for op in self._ops if op.call is not None and op.type is not OpType.INVOKE}

    def pairs(self, *names: str) -> Iterator[tuple[Op, Op | None]]:
        """(invocation, completion or None) of every operation whose ``f`` is in ``names`` (all, if none given)."""
        for op in self._ops:
            if op.type is OpType.INVOKE and (not names or op.f in names):
                yield op, None if op.call is None else self.completions.get(op.call)

    def points(self, *names: str) -> Iterator[Op]:
        """Rows without a call (samples, phases, log records ...) whose ``f`` is in ``names``."""
        return (op for op in self._ops if op.call is None and op.f in names)

    def phase(self, name: str) -> float | None:
        """When phase ``name`` began, in seconds on the cell's clock; None if it never did."""
        return next((op.time_s for op in self.points("phase") if op.value.get("name") == name), None)

    @property
    def end_s(self) -> float:
        """The time of the last row, 0 for an empty history."""
        return self._ops[-1].time_s if self._ops else 0.0


def parse_history(lines: Iterable[str], *, where: str = "history") -> History:
    """Read ``history.jsonl``. A torn last line is dropped; damage anywhere else raises UsageError with its line."""
    ops: list[Op] = []
    bad: tuple[int, str] | None = None
    for number, line in enumerate(lines, start=1):
        if bad is not None:
            raise UsageError(f"{where}, line {bad[0]}: not a history row ({bad[1]}); only the last line may be torn")
        try:
            row = loads(line, "row")
            if number == 1 and isinstance(row, dict) and "schema" in row:
                _check_schema(row["schema"], where)
                continue
            if not line.endswith("\n"):
                raise UsageError("no line end")
            ops.append(Op.from_json(row))
        except _OtherSchema:
            raise
        except UsageError as error:
            bad = (number, str(error)[:200])
    return History(ops, torn=bad is not None)


class _OtherSchema(UsageError):
    """A history of another version; no damage."""


def _check_schema(schema: Json, where: str) -> None:
    if schema != SCHEMA:
        raise _OtherSchema(f"{where}: history schema {shown(schema)}; this version reads {SCHEMA}")
