"""Control: the class-level pool that a failed health check closes and opens anew, under living agents.

As it was posted: every agent builds its saver on the one shared pool and calls ``setup()``; ``_ensure_pool_health``
calls ``_recreate_pool``, and that closes the old pool and opens a new one. Agents that live keep a saver on the
closed pool: from then on their callers get PoolClosed, for ever. The posted health check tests ``pool is None or
pool.is_closed()``, which can never see a timeout (and psycopg_pool has no ``is_closed``), so this one asks ``SELECT
1`` within 2 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle, Database, PoolStrategy
from harness.core.verdict import Guarantee

HEALTH_S = 2.0


class NaiveRecreate(PoolStrategy):
    """BaseAgent._shared_pool, _ensure_pool_health and _recreate_pool."""

    name = "naive_recreate"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED, Guarantee.RECOVERS, Guarantee.AVAILABLE, Guarantee.DECLARED_ERRORS})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.pool = self.new_pool()
        self._recreated = 0

    def new_pool(self) -> AsyncConnectionPool[Any]:
        """Small, so that somebody waits at it under load."""
        return self.database.pool(min_size=1, max_size=2, timeout=4.0)

    async def open(self) -> None:
        """Open the shared pool."""
        await self.pool.open()

    async def close(self) -> None:
        """Close it."""
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver on the pool of this moment, for ever."""
        saver = AsyncPostgresSaver(self.pool)
        await saver.setup()
        return saver

    async def ensure_healthy(self) -> None:
        """Any error or timeout is taken for a broken pool."""
        try:
            async with asyncio.timeout(HEALTH_S), self.pool.connection() as connection:
                await connection.execute("SELECT 1")
        except Exception:  # noqa: BLE001 - as posted
            await self.recreate()

    async def recreate(self) -> None:
        """Close the old pool, open a new one, tell nobody."""
        await self.pool.close()
        self.pool = self.new_pool()
        await self.pool.open()
        self._recreated += 1

    def stats(self) -> Mapping[str, int]:
        """The present pool's numbers, and how many there were before it."""
        return {**self.pool.get_stats(), "recreated": self._recreated}
