"""One call of a user, served where its replica group lives: in the cell's own process, or in one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from harness.core.pool import Reply
from harness.core.scenario import Bounds
from harness.core.workload import Action
from harness.driving.ending import Ending, ending_of
from harness.driving.group import Group, cancel_hard
from harness.driving.recorder import CURRENT_CALL, Call, Recorder
from harness.driving.request import DrivenRequest


class Serving:
    """From the strategy's ``serve`` until nothing of the call is alive. ``row`` is its invocation."""

    def __init__(
        self, group: Group, action: Action, row: Call, *, bounds: Bounds, durability: str, recorder: Recorder
    ) -> None:
        self._strategy = group.strategy
        self._replica = group.replicas[action.agent]
        self._row = row
        self._limit_s = bounds.deadline_s + bounds.hang_fail_s
        self._dead = True
        self._request = DrivenRequest(
            self._replica,
            action,
            durability=durability,
            deadline_s=bounds.deadline_s,
            recorder=recorder,
            call=row,
            errors=group.strategy.errors,
        )

    async def ended(
        self, start: Callable[[Coroutine[Any, Any, Reply]], asyncio.Task[Reply]] = asyncio.ensure_future
    ) -> Ending:
        """Serve it, and end it where the strategy does not: how it ended. ``start`` makes the task that serves it."""
        CURRENT_CALL.set(self._row)  # the task below, and all that it starts, work for this call
        task = start(self._strategy.serve(self._replica, self._request))
        try:
            await asyncio.wait({task}, timeout=self._limit_s)
            hung = not task.done()
        finally:
            self._dead = await cancel_hard(task)
        nothing_begun = self._row.writes == 0 and self._request.settled
        return ending_of(task, hung=hung, nothing_begun=nothing_begun, errors=self._strategy.errors)

    async def left_nothing(self) -> bool:
        """Wait, bounded, until no attempt is alive; false if something of the call lives on.

        LangGraph does not cancel a run's saves, and a second cancellation makes it leave without awaiting them.
        """
        return await self._request.settle() and self._dead and not self._row.open_writes
