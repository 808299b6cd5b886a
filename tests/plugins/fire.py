"""Plug-in file for the tests in tests/fire: one-cell runs that take seconds, and strategies that hit the harness."""

from __future__ import annotations

import dataclasses
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness import AgentHandle, Guarantee, PoolStrategy, Scenario
from harness.core.fault import Window
from harness.core.scenario import Bounds
from harness.faults.latency import Latency
from harness.faults.proxy_down import ProxyDown
from harness.workloads.closed_loop import ClosedLoop

STILL = Scenario(
    name="fire/still",
    title="Nothing, shortly",
    why="The shortest cell.",
    question=1,
    load=ClosedLoop(),
    baseline=True,
    gate_s=0.8,
    tail_s=0.5,
    bounds=Bounds(deadline_s=20.0),  # what these cells show has nothing to do with time: a busy machine may run them
)

BRISK = dataclasses.replace(STILL, name="fire/brisk", title="Calls have four seconds", bounds=Bounds(deadline_s=4.0))

STEADY = dataclasses.replace(STILL, name="fire/steady", title="Nothing, for five seconds", tail_s=5.0)

AWAY = Scenario(
    name="fire/away",
    title="The database is away for a minute",
    why="Long enough to be interrupted in the middle of a fault.",
    question=1,
    load=ClosedLoop(),
    plan=(Window(ProxyDown(), 0.0, 60.0),),
    gate_s=0.8,
    bounds=Bounds(deadline_s=4.0, recover_s=6.0),
)

SLOW_LINK = Scenario(
    name="fire/slow_link",
    title="Answers are 50 ms late for three seconds",
    why="A toxic stands long enough for its server to be hit, and leaves the database usable.",
    question=1,
    load=ClosedLoop(),
    plan=(Window(Latency(latency_ms=50, stream="downstream"), 0.0, 3.0),),
    gate_s=0.8,
    bounds=Bounds(
        deadline_s=6.0, recover_s=1.0, recover_why="these cells are hit, so that nobody waits for a recovery"
    ),
)


class PlainPool(PoolStrategy):
    """A pool as the documentation shows it, with a timeout within the deadline: the harness is under fire here, and a
    pool that waits 30 s for a dead server hangs. Called a control, so that a run of one cell stays one cell.
    """

    name = "fire_plain_pool"
    breaks = frozenset({Guarantee.RECOVERS})
    wait_s = 4.0

    async def open(self) -> None:
        self.pool = self.database.pool(min_size=1, max_size=4, timeout=self.wait_s)
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return AsyncPostgresSaver(self.pool)


class ImpatientPool(PlainPool):
    """For a server that never comes back: the saves of a turn wait for a connection one after the other (I-14), and ten
    waits of 4 s are a hang, which would be held against the pool.
    """

    name = "fire_impatient_pool"
    wait_s = 0.5
