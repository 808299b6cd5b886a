"""Writes the history: every call when it is invoked and when it completes, and points in time between.

Rows may be written from any thread. The invocation reaches the operating system before the call is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from harness.core.environment import Clock
from harness.core.history import ErrorInfo, Op, OpType
from harness.core.verdict import Json


class Sink(Protocol):
    """Where rows go: ``store.HistoryWriter``, or a list in tests."""

    def append(
        self,
        type: OpType,  # noqa: A002 - the history's own word
        f: str,
        process: str,
        value: dict[str, Json],
        *,
        time_s: float,
        call: int | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        """Give the row its index, write it, and return it."""
        ...


@dataclass(slots=True)
class Call:
    """One operation under way. ``writes`` counts the saver writes that it started: zero proves that nothing was
    stored. ``open_writes`` are those that have not ended. ``parent`` is the user's call that a saver call works for.
    ``on_await`` is called each time that the work for a user's call suspends, on the loop where it does.
    """

    number: int
    f: str
    process: str
    started_s: float
    value: dict[str, Json]
    writes: int = 0
    open_writes: int = 0
    parent: Call | None = None
    done: bool = False
    on_await: Callable[[], None] | None = None


#: The user's call that the running task works for; LangGraph's background tasks inherit it.
CURRENT_CALL: ContextVar[Call | None] = ContextVar("poolproof_current_call", default=None)


class Recorder:
    """The one writer of a cell's history."""

    def __init__(self, sink: Sink, clock: Clock, *, first: int = 1) -> None:
        """``first`` is the number of the first call: processes of one cell number theirs from different ones."""
        self.clock = clock
        self._sink = sink
        self._numbers = itertools.count(first)

    def invoke(self, f: str, process: str, value: Mapping[str, Json]) -> Call:
        """Record that an operation begins, and return the handle that its completion needs."""
        started_s = self.clock.now_s()
        call = Call(next(self._numbers), f, process, started_s, dict(value))
        self._sink.append(OpType.INVOKE, f, process, call.value, time_s=started_s, call=call.number)
        return call

    def complete(
        self, call: Call, kind: OpType, value: Mapping[str, Json] | None = None, error: ErrorInfo | None = None
    ) -> Op | None:
        """Record how it ended; a second completion of the same call is dropped (None)."""
        if call.done:
            return None
        call.done = True
        return self._sink.append(
            kind, call.f, call.process, dict(value or {}), time_s=self.clock.now_s(), call=call.number, error=error
        )

    def point(self, f: str, process: str, value: Mapping[str, Json], error: ErrorInfo | None = None) -> Op:
        """Record a point in time."""
        return self._sink.append(OpType.INFO, f, process, dict(value), time_s=self.clock.now_s(), error=error)

    def relay(self, op: Op) -> Op:
        """Record a row that another process of this cell made, on the same clock; it gets an index of its own."""
        return self._sink.append(op.type, op.f, op.process, op.value, time_s=op.time_s, call=op.call, error=op.error)
