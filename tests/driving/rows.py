"""A sink that keeps rows in a list, and the little that the driving tests build around it."""

from __future__ import annotations

import threading

from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.verdict import Json
from harness.driving.recorder import Recorder
from harness.environments.clock import RealClock


class Rows:
    """Implements ``driving.recorder.Sink``."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._lock = threading.Lock()

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
        with self._lock:
            op = Op(len(self.ops), time_s, type, f, process, call, value, error)
            self.ops.append(op)
            return op

    @property
    def history(self) -> History:
        return History(self.ops)

    def of(self, f: str, kind: OpType | None = None) -> list[Op]:
        return [op for op in self.ops if op.f == f and (kind is None or op.type is kind)]


def recorder() -> tuple[Recorder, Rows]:
    rows = Rows()
    return Recorder(rows, RealClock()), rows
