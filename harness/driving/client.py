"""The client's side of a cell: calls that are cut short at a chosen await, a loop that stands still, set-ups side by
side.

Elsewhere nobody ends a call before its deadline + 12 s. Here a scenario may, as a web server does when its client goes:
the task that serves the call is cancelled, and nothing else is done for the strategy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from math import exp, log
from random import Random
from typing import Any

from harness.core.environment import Cut
from harness.core.history import ErrorInfo, OpType
from harness.core.pool import Reply
from harness.core.verdict import Json
from harness.core.workload import Action
from harness.driving.awaits import counted
from harness.driving.ending import Ending
from harness.driving.exceptions import describe
from harness.driving.group import Group
from harness.driving.recorder import Call
from harness.driving.watchdog import Watchdog

#: Of set-ups that failed, so many different errors are told.
ERRORS_TOLD = 5


class CellClient:
    """Implements ``core.environment.Client``. Calls may come from several loops."""

    def __init__(self, groups: Sequence[Group], watchdog: Watchdog, seed: int) -> None:
        self._groups = groups
        self._watchdog = watchdog
        self._seed = seed
        self._lock = threading.Lock()
        self._how: Cut | None = None
        self._visits: list[Visit] = []

    def cut(self, how: Cut | None) -> None:
        """See ``core.environment.Client``."""
        with self._lock:
            self._how, ended = how, self._visits
            if how is not None:
                self._visits = []
        for visit in ended:
            visit.stay()

    def cuts(self) -> Mapping[str, Json]:
        """See ``core.environment.Client``."""
        with self._lock:
            strikes = [visit.strikes for visit in self._visits]
        return {
            "begun": len(strikes),
            "cut": sum(count > 0 for count in strikes),
            "twice": sum(count > 1 for count in strikes),
        }

    def visit(self, user: str, action: Action) -> Visit | None:
        """What will become of this call; None for one that is let alone."""
        how = self._how
        if how is None:
            return None
        chance = Random(f"{self._seed}/{user}/{action.kind}/{action.turn.id}/{action.attempt}")  # noqa: S311 - no secret
        if chance.random() >= how.share:
            return None
        at = round(exp(chance.uniform(0.0, log(how.awaits)))) if how.awaits else 0
        again = chance.randint(1, how.again) if how.again else 0
        visit = Visit(at, again, how.timeout_ms / 1000)
        with self._lock:
            if self._how is not how:
                return None
            self._visits.append(visit)
        return visit

    def stall(self, seconds: float) -> None:
        """See ``core.environment.Client``."""
        self._watchdog.stall(seconds)

    async def set_up(self) -> Mapping[str, Json]:
        """See ``core.environment.Client``."""
        by_group = await asyncio.gather(*(group.order_set_ups() for group in self._groups))
        ended = [error for errors in by_group for error in errors]
        errors = sorted({_in_one_line(error) for error in ended if error is not None})
        failed = sum(error is not None for error in ended)
        return {"setups": len(ended), "failed": failed, "errors": [*errors[:ERRORS_TOLD]]}


def _in_one_line(error: BaseException) -> str:
    info = describe(error)
    return f"{info.type}: {info.message.partition(chr(10))[0]}"


class Visit:
    """A call whose client goes: at await ``at``, and once more ``again`` awaits later; or after ``timeout_s``.

    ``strikes`` counts how often the task that serves it was cancelled while it was under way.
    """

    def __init__(self, at: int, again: int, timeout_s: float) -> None:
        self.strikes = 0
        self.by_timeout = timeout_s > 0
        self._timeout_s = timeout_s
        self._at = at
        self._again = again
        self._awaits = 0
        self._stays = False
        self._task: asyncio.Task[Reply] | None = None
        self._bound: asyncio.Timeout | None = None

    def start(self, row: Call, serving: Coroutine[Any, Any, Reply]) -> asyncio.Task[Reply]:
        """The task that serves the call; what it starts counts its awaits as well."""
        if self.by_timeout:
            self._task = asyncio.ensure_future(self._timed(serving))
        else:
            row.on_await = self._awaited
            self._task = asyncio.ensure_future(counted(serving, self._awaited))
        return self._task

    def ends(self, ending: Ending) -> Ending:
        """How the call ended. An answer reaches nobody whose client has gone, so what was cut short is in doubt.

        A service that ends a call itself still has its client, and the answer if there was one after all.
        """
        if not self.strikes or ending.value.get("hung") is True or (self.by_timeout and ending.kind is OpType.OK):
            return ending
        value: dict[str, Json] = {"cancelled": self.strikes, "by": "timeout" if self.by_timeout else "client"}
        if ending.kind is OpType.OK:
            went = ErrorInfo("CancelledError", "the client had gone", ("CancelledError", "BaseException"))
            return Ending(OpType.INFO, value, went)
        return Ending(OpType.INFO, {**ending.value, **value}, ending.error)

    def stay(self) -> None:
        """The client does not go any more. From any thread."""
        self._stays = True
        task, bound = self._task, self._bound
        if bound is not None and task is not None and not task.done():
            task.get_loop().call_soon_threadsafe(_lift, bound)

    def _awaited(self) -> None:
        self._awaits += 1
        task = self._task
        if self._stays or task is None or task.done() or self._awaits != self._at:
            return
        self.strikes += 1
        if self.strikes == 1 and self._again:
            self._at += self._again
        if task.get_loop() is asyncio.get_running_loop():
            task.cancel()
        else:
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _timed(self, serving: Coroutine[Any, Any, Reply]) -> Reply:
        try:
            async with asyncio.timeout(self._timeout_s) as self._bound:
                return await serving
        finally:
            self.strikes += self._bound is not None and self._bound.expired()


def _lift(bound: asyncio.Timeout) -> None:
    if not bound.expired() and bound.when() is not None:
        bound.reschedule(None)
