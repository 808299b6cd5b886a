"""What planted mistakes are built upon: one shared pool that is never closed while agents live, and many savers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.pool import AgentHandle, Database, PoolStrategy

logger = logging.getLogger("poolproof.pools.planted")

#: Short, so that an outage shows soon.
POOL_WAIT_S = 0.5


class OnePool(PoolStrategy):
    """Not a strategy by itself: it has no name."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.pool = database.pool(min_size=1, max_size=4, timeout=POOL_WAIT_S)

    async def open(self) -> None:
        """Open the pool."""
        await self.pool.open()

    async def close(self) -> None:
        """Close it, at the very end."""
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own."""
        return AsyncPostgresSaver(self.pool)

    async def recreate(self) -> None:
        """Renew by draining."""
        await self.pool.drain()

    async def answers(self) -> bool:
        """True if a pooled connection answers a query."""
        try:
            async with self.pool.connection() as connection:
                await connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stats(self) -> Mapping[str, int]:
        """The pool's numbers."""
        return self.pool.get_stats()
