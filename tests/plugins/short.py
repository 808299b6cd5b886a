"""Plug-in files for the slot and campaign tests: short scenarios, and strategies that misbehave."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness import AgentHandle, Answered, PoolStrategy, Reply, Request, Scenario
from harness.core.fault import Window
from harness.core.scenario import Bounds
from harness.faults.proxy_down import ProxyDown
from harness.workloads.closed_loop import ClosedLoop

STILL = Scenario(
    name="short/still",
    title="Nothing, shortly",
    why="The shortest cell.",
    question=1,
    load=ClosedLoop(),
    baseline=True,
    gate_s=0.8,
    tail_s=0.5,
    bounds=Bounds(deadline_s=4.0),
)

LONG = Scenario(
    name="short/long",
    title="The database is away for a minute",
    why="Long enough to be interrupted.",
    question=1,
    load=ClosedLoop(),
    plan=(Window(ProxyDown(), 0.0, 60.0),),
    gate_s=0.8,
    bounds=Bounds(deadline_s=4.0, recover_s=6.0),
)


class PlainPool(PoolStrategy):
    """A pool as the documentation shows it."""

    name = "my_plain_pool"

    async def open(self) -> None:
        self.pool = self.database.pool(min_size=1, max_size=4)
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return AsyncPostgresSaver(self.pool)


class ClosesSlowly(PlainPool):
    name = "closes_slowly"

    async def close(self) -> None:
        await asyncio.sleep(1.0)
        await super().close()


class RaisesInOpen(PlainPool):
    name = "raises_in_open"

    async def open(self) -> None:
        raise ValueError("there is no such host")

    async def close(self) -> None: ...


class GivesNoSaver(PlainPool):
    name = "gives_no_saver"

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return None


class HangsInServe(PlainPool):
    name = "hangs_in_serve"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        await asyncio.sleep(3600)
        return Answered("")


class LeaksABackend(PlainPool):
    name = "leaks_a_backend"

    async def close(self) -> None:
        """Forgets to close."""


class EndsTheProcess(PlainPool):
    name = "ends_the_process"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        os._exit(3)


class BlocksTheLoop(PlainPool):
    name = "blocks_the_loop"
    calls = 0

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        BlocksTheLoop.calls += 1
        if BlocksTheLoop.calls == 30:  # after the gate, which sets the measure
            time.sleep(2.5)  # noqa: ASYNC251 - what is to be caught
        return await request()
