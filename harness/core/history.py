"""The history: the append-only record of everything that happened in one cell.

Operations follow Jepsen: a call is one row when it is invoked and one when it completes as ``ok`` (it happened),
``fail`` (it certainly did not) or ``info`` (unknown: it may have happened, or may still happen). Faults, health
checks, saver calls, samples and phases are rows of the same history, on the same clock. ``docs/history.md`` lists every
``f`` with its value's keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import overload

from harness.core.errors import UsageError
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
        """The inverse of :meth:`to_json`."""
        links = data.get("links") or []
        classes = data.get("classes") or []
        assert isinstance(links, list)
        assert isinstance(classes, list)
        return cls(
            type=str(data["type"]),
            message=str(data["message"]),
            classes=tuple(str(name) for name in classes),
            links=tuple((str(link[0]), str(link[1]), str(link[2])) for link in links if isinstance(link, list)),
            pool_closed=bool(data.get("pool_closed")),
            declared=bool(data.get("declared")),
        )


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
        """The inverse of :meth:`to_json`; raises KeyError, TypeError or ValueError on a row that is not one."""
        value, call, error, index, time_s = (data.get(k) for k in ("value", "call", "error", "index", "time_s"))
        if not isinstance(value, dict) or not isinstance(index, int) or not isinstance(time_s, int | float):
            raise TypeError(f"not a history row: {data!r}")
        return cls(
            index=index,
            time_s=float(time_s),
            type=OpType(str(data["type"])),
            f=str(data["f"]),
            process=str(data["process"]),
            call=call if isinstance(call, int) else None,
            value=value,
            error=ErrorInfo.from_json(error) if isinstance(error, dict) else None,
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


#: What reading a damaged row may raise; ArithmeticError: JSON may bring integers that no float can hold.
_NOT_A_ROW = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, AssertionError, RecursionError)


def parse_history(lines: Iterable[str], *, where: str = "history") -> History:
    """Read ``history.jsonl``. A torn last line is dropped; damage anywhere else raises UsageError with its line."""
    ops: list[Op] = []
    bad: tuple[int, str] | None = None
    for number, line in enumerate(lines, start=1):
        if bad is not None:
            raise UsageError(f"{where}, line {bad[0]}: not a history row ({bad[1]}); only the last line may be torn")
        try:
            row = json.loads(line)
            if number == 1 and isinstance(row, dict) and "schema" in row:
                if row["schema"] != SCHEMA:
                    raise UsageError(f"{where}: history schema {row['schema']!r}; this version reads {SCHEMA}")
                continue
            if not line.endswith("\n"):
                raise ValueError("no line end")
            ops.append(Op.from_json(row))
        except (
            ValueError,
            LookupError,
            ArithmeticError,
            TypeError,
            AttributeError,
            AssertionError,
            RecursionError,
        ) as error:
            bad = (number, f"{type(error).__name__}: {str(error)[:120]}")
    return History(ops, torn=bad is not None)
