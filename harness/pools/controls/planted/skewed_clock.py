"""Planted: the clock of one replica group is an hour ahead, and what the others store afterwards is never read.

A container that woke up with a wrong time. LangGraph says of a checkpoint's id that it "is both unique and
monotonically increasing, so can be used for sorting checkpoints from first to last"
(``langgraph.checkpoint.base.Checkpoint``); the id is made from the client's clock, and the newest id is the
conversation. So what a replica with the right time stores after one with the wrong time is acknowledged, and hidden.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, cast

from langgraph.checkpoint.base import id as ids

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool

SKEW_NS = 3_600 * 10**9
#: How far the clock of the running task's replica is ahead; LangGraph's own tasks inherit it.
_ahead_ns: ContextVar[int] = ContextVar("poolproof_clock_ahead_ns", default=0)


class _ReplicaClock:
    """Stands in for the module ``time`` where checkpoint ids are made: each replica reads its own clock."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def time_ns(self) -> int:
        """The time as this replica sees it. A process of its own would not know of ids made by others either."""
        cast("Any", ids)._last_v6_timestamp = None
        now_ns: int = self._clock.time_ns()
        return now_ns + _ahead_ns.get()


class SkewedClock(OnePool):
    """A sound pool, and one group whose clock is wrong."""

    name = "skewed_clock"
    breaks = frozenset({Guarantee.NO_LOST_TURN})

    async def open(self) -> None:
        """Give each replica a clock, once in a process."""
        module = cast("Any", ids)
        if not isinstance(module.time, _ReplicaClock):
            module.time = _ReplicaClock(module.time)
        await super().open()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """The first group's clock is right, any other's an hour ahead."""
        _ahead_ns.set(0 if agent.replica.startswith("g0/") else SKEW_NS)
        return await request()
