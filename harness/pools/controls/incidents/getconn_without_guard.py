"""Reported: ``getconn()``, some preparation, and only then the ``try`` whose ``finally`` gives the connection back.

A request that is cancelled in between takes the connection with it. The pool counts it as lent for ever, and after as
many cancellations as it has connections nobody gets one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncCursor
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.timeout_of_asyncio import TimeoutOfAsyncio


class UnguardedSaver(AsyncPostgresSaver):
    """Borrows by hand, as a database wrapper does that was written for synchronous code."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        super().__init__(pool)
        self._pool = pool

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        async with self.lock:
            connection = await self._pool.getconn()
            await connection.execute("SET statement_timeout = 0")  # cancelled here, nobody gives it back
            try:
                async with connection.pipeline(), connection.cursor(binary=True, row_factory=dict_row) as cursor:
                    yield cursor
            finally:
                await self._pool.putconn(connection)


class GetconnWithoutGuard(TimeoutOfAsyncio):
    """Requests are cancelled at their deadline."""

    name = "getconn_without_guard"
    breaks = frozenset({Guarantee.RECOVERS})
    settings: ClassVar[Mapping[str, Any]] = {"min_size": 2, "max_size": 2, "timeout": 1.0}

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own over the one pool."""
        return UnguardedSaver(self.pool)
