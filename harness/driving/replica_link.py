"""The cell's end of one replica process: calls go there, answers and rows of the history come back.

What a caller sees of a process that is gone or stands still is what an HTTP client sees of a container: a connection
that was reset, or no answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.core.history import ErrorInfo, Op, OpType
from harness.core.verdict import Json
from harness.core.workload import Action
from harness.driving.ending import Ending
from harness.driving.recorder import Call, Recorder
from harness.driving.request import SETTLE_LIMIT_S

#: From so long after it was stopped a process gets no new call: somebody probed it and had no answer.
PROBE_S = 1.0
_EXTRA_S = 10.0
_OS_ERRORS = ("OSError", "Exception", "BaseException")
_LOST: Mapping[str, ErrorInfo] = {
    "reset": ErrorInfo(
        "ConnectionResetError",
        "the replica's process, which had the call, is gone",
        ("ConnectionResetError", "ConnectionError", *_OS_ERRORS),
        declared=True,
    ),
    "no_answer": ErrorInfo(
        "TimeoutError",
        "the replica's process, which has the call, stands still",
        ("TimeoutError", *_OS_ERRORS),
        declared=True,
    ),
    "refused": ErrorInfo(
        "ConnectionRefusedError",
        "no replica takes calls",
        ("ConnectionRefusedError", "ConnectionError", *_OS_ERRORS),
        declared=True,
    ),
}


def lost(how: str, *, ordered: bool) -> Ending:
    """A call that the service itself never answered. ``ordered``: because a fault took its replica away."""
    kind = OpType.FAIL if how == "refused" else OpType.INFO
    value: dict[str, Json] = {"lost": how}
    return Ending(kind, {**value, "ordered": True} if ordered else value, _LOST[how])


class _Pending:
    """A call under way: its answer, and whether nothing of it lives on."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Ending] = loop.create_future()
        self.clean: asyncio.Future[bool] = loop.create_future()

    def lose(self, ending: Ending) -> None:
        """No answer comes any more; what the process still did is over, or nobody can know."""
        if not self.answer.done():
            self.answer.set_result(ending)
        if not self.clean.done():
            self.clean.set_result(True)


class Link:
    """One replica process, from the order to start it to its end. ``ordered``: a fault has ended it, or is about to."""

    def __init__(self, name: int, group: str, recorder: Recorder, on_draining: Callable[[Link], None]) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.group = group
        self.pid: asyncio.Future[int] = loop.create_future()
        self.ready: asyncio.Future[str] = loop.create_future()  # empty, or why its strategy could not begin
        self.ended: asyncio.Future[int | None] = loop.create_future()  # its status as waitpid has it, None if unknown
        self.taking = False
        self.ordered = False
        self.told = False  # to end, by a fault, which has another one started
        self.stopped_s: float | None = None
        self.waiting: tuple[int, int] = (0, 0)
        self.lost: list[int] = []
        self._recorder = recorder
        self._on_draining = on_draining
        self._calls: dict[int, _Pending] = {}
        self._orders: dict[int, asyncio.Future[None]] = {}

    def end(self, status: int) -> None:
        """It has ended."""
        if not self.ended.done():
            self.ended.set_result(status)

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the process has closed its end. Then every call that it had is lost."""
        self._writer = writer
        try:
            while line := await reader.readline():
                if line.endswith(b"\n"):  # a process that was killed may have died in the middle of one
                    self._take(json.loads(line))
        except ConnectionError:
            pass  # it was killed while something was on its way to it
        finally:
            self.taking = False
            writer.close()
            self.lost = self.cut()
            for order in self._orders.values():
                if not order.done():
                    order.set_result(None)
            if not self.ready.done():
                self.ready.set_result(f"the process of group {self.group} ended before it was ready")

    def _take(self, message: Mapping[str, Any]) -> None:
        if "row" in message:
            self._recorder.relay(Op.from_json({"index": 0, **message["row"]}))
        elif "beat" in message:
            waiters, saver_waiters = message["beat"]
            self.waiting = (waiters, saver_waiters)
        elif "answer" in message:
            self._answer(message)
        elif "settled" in message:
            pending = self._calls.get(message["settled"])
            if pending is not None and not pending.clean.done():
                pending.clean.set_result(message["clean"])
        elif "done" in message:
            order = self._orders.pop(message["done"], None)
            if order is not None and not order.done():
                order.set_result(None)
        elif "draining" in message:
            self.taking = False
            self._on_draining(self)
            self.say({"drain": True})
        elif not self.ready.done():
            self.taking = "ready" in message
            self.ready.set_result("" if self.taking else str(message.get("broken")))

    def _answer(self, message: Mapping[str, Any]) -> None:
        pending = self._calls.get(message["answer"])
        if pending is None or pending.answer.done():
            value: dict[str, Json] = {"event": "late_answer", "of": message["answer"], "kind": message["kind"]}
            self._recorder.point("replica", self.group, value)
            return
        error = None if message["error"] is None else ErrorInfo.from_json(message["error"])
        pending.answer.set_result(Ending(OpType(message["kind"]), message["value"], error))

    def say(self, message: Mapping[str, Json]) -> None:
        """Send; never waits. To a process that is gone it does nothing."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    @property
    def in_flight(self) -> int:
        """Calls that wait for its answer."""
        return sum(not pending.answer.done() for pending in self._calls.values())

    def takes(self, now_s: float) -> bool:
        """True if new calls are brought here."""
        return self.taking and (self.stopped_s is None or now_s < self.stopped_s + PROBE_S)

    def cut(self) -> list[int]:
        """Every call that it has is lost to its caller; their numbers."""
        numbers = [number for number, pending in self._calls.items() if not pending.answer.done()]
        for pending in self._calls.values():
            pending.lose(lost("reset", ordered=self.ordered))
        return numbers

    async def call(
        self, row: Call, action: Action, limits_s: tuple[float, float], tell: Callable[[Ending], None]
    ) -> bool:
        """Bring a call there, ``tell`` how it ended, and wait until nothing of it lives on; false if it would not die.

        ``limits_s``: its deadline, and how long after that the process itself ends it. The caller of a process that
        was stopped gives up at the deadline.
        """
        pending = self._calls[row.number] = _Pending()
        deadline_s, more_s = limits_s
        try:
            self.say(
                {
                    "call": row.number,
                    "user": row.process,
                    "value": row.value,
                    "sent_s": row.started_s,
                    "action": dataclasses.asdict(action),
                }
            )
            await asyncio.wait({pending.answer}, timeout=deadline_s)
            if not pending.answer.done() and self.stopped_s is not None:
                pending.lose(lost("no_answer", ordered=self.ordered))
            await asyncio.wait({pending.answer}, timeout=more_s + _EXTRA_S)
            if not pending.answer.done():
                tell(Ending(OpType.INFO, {"hung": True}, _LOST["no_answer"]))
                return False
            tell(pending.answer.result())
            await asyncio.wait({pending.clean}, timeout=SETTLE_LIMIT_S + _EXTRA_S)
            return pending.clean.done() and pending.clean.result()
        finally:
            del self._calls[row.number]

    async def order(self, number: int, what: str, value: Mapping[str, Json], limit_s: float) -> None:
        """Have the strategy do it; over when it has, or when the process is gone."""
        done = self._orders[number] = asyncio.get_running_loop().create_future()
        self.say({"order": number, "what": what, "value": dict(value)})
        await asyncio.wait({done}, timeout=limit_s)

    def state(self) -> str:
        """One letter, as the kernel has it; Z if it is gone."""
        try:
            return Path(f"/proc/{self.pid.result()}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, asyncio.InvalidStateError):
            return "Z"
