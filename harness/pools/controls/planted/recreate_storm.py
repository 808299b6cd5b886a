"""Planted: each failed call opens a new pool, and the old ones are let go late, so that an outage piles up pools.

"On an error, re-create." PoolTimeout is an OperationalError too, so the strategy reacts to its own damage. Nobody
meets a closed pool, for old pools stay open for their users; when the database is back, all of them connect at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import POOL_WAIT_S


class NewestPoolSaver(AsyncPostgresSaver):
    """Looks up the newest of ``pools`` at every call."""

    def __init__(self, pools: Sequence[AsyncConnectionPool[Any]]) -> None:
        self._pools = pools
        super().__init__(pools[-1])

    @property
    def conn(self) -> AsyncConnectionPool[Any]:
        """The newest pool."""
        return self._pools[-1]

    @conn.setter
    def conn(self, value: Any) -> None:
        """The base class sets what it was given; the list says what is used."""


class RecreateStorm(PoolStrategy):
    """A newer pool at each failure, and no limit to how many live."""

    name = "recreate_storm"
    breaks = frozenset({Guarantee.CONNECTION_BUDGET})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pools: list[AsyncConnectionPool[Any]] = []

    async def open(self) -> None:
        """The first pool."""
        await self.recreate()

    async def close(self) -> None:
        """Close all of them, at the very end."""
        await asyncio.gather(*(pool.close() for pool in self._pools))

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver that no re-creation leaves behind."""
        return NewestPoolSaver(self._pools)

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer, or renew everything and fail."""
        try:
            return await request()
        except psycopg.OperationalError:
            await self.recreate()
            raise

    async def recreate(self) -> None:
        """One pool more."""
        pool = self.database.pool(min_size=1, max_size=4, timeout=POOL_WAIT_S)
        self._pools.append(pool)
        await pool.open()

    def stats(self) -> Mapping[str, int]:
        """How many pools there are."""
        return {"pools": len(self._pools)}
