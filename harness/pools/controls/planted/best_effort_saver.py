"""Planted: a save that fails is logged as a warning and dropped, and the turn is acknowledged all the same.

"Memory is a nice-to-have, it must never break the chat." So there is a circuit breaker, too: after a failure no agent
saves anything for half a minute. The graph runs on with what it has in its hands, and the caller gets a perfect answer;
only the database knows that it was never stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle, Database
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool, logger

#: For so long after a failed save no other is tried.
OPEN_S = 30.0


class Breaker:
    """Saves are tried while it is closed."""

    def __init__(self) -> None:
        self._open_until_s = 0.0

    async def attempt(self, save: Callable[[], Awaitable[object]]) -> None:
        """Save, or do nothing; a failure opens the breaker."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._open_until_s:
            return
        try:
            await save()
        except psycopg.OperationalError as error:
            self._open_until_s = now_s + OPEN_S
            logger.warning("could not save, going on without: %s", error)


class DroppingSaver(AsyncPostgresSaver):
    """Reads as usual, writes if it can."""

    def __init__(self, pool: AsyncConnectionPool[Any], breaker: Breaker) -> None:
        super().__init__(pool)
        self._breaker = breaker

    async def aput(self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any) -> RunnableConfig:
        """As if it had been written."""
        save = partial(super().aput, config, checkpoint, metadata, new_versions)
        await self._breaker.attempt(save)
        return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """As if they had been written."""
        await self._breaker.attempt(partial(super().aput_writes, config, writes, task_id, task_path))


class BestEffortSaver(OnePool):
    """A saver that never fails."""

    name = "best_effort_saver"
    breaks = frozenset({Guarantee.NO_LOST_TURN})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._breaker = Breaker()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver that drops what it cannot write."""
        return DroppingSaver(self.pool, self._breaker)
