"""Reported: the pool is made by whoever needs it first, behind an ``if _saver is None`` without a lock.

Several agents are asked before the first pool is open, each opens one and keeps it, the last one stays in the global,
and nobody ever closes the others. (A pool that nobody keeps is collected, and its connections are closed with it.)
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.core.verdict import Guarantee


class UnlockedStart(PoolStrategy):
    """A race at each cold start."""

    name = "unlocked_start"
    breaks = frozenset({Guarantee.CONNECTION_BUDGET})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pool: AsyncConnectionPool[Any] | None = None
        self._ready: set[str] = set()

    async def close(self) -> None:
        """Close the pool that is known."""
        if self._pool is not None:
            await self._pool.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """One that is replaced before it is used."""
        return AsyncPostgresSaver(self.database.pool())

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """An agent's first request gets it a saver, and the first of all makes the pool; so do all that come then."""
        if agent.replica not in self._ready:
            saver = AsyncPostgresSaver(await self._get_pool())
            if agent.replica not in self._ready:
                self._ready.add(agent.replica)
                agent.checkpointer = saver
        return await request()

    async def _get_pool(self) -> AsyncConnectionPool[Any]:
        if self._pool is None:
            pool = self.database.pool(min_size=2, max_size=2)
            await pool.open()
            await AsyncPostgresSaver(pool).setup()
            self._pool = pool
            return pool
        return self._pool
