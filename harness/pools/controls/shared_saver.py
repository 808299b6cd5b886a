"""Control: one saver for all agents. Its lock lets one call through at a time, and the wait for it has no timeout.

Otherwise it is sound: one pool that is never closed, and a bounded wait for a connection. But while the database
refuses, each call waits that long for a connection with the lock in its hands, and the callers behind it wait for all
of them in turn: with five agents the last one waits for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.pool import AgentHandle, Database, PoolStrategy
from harness.core.verdict import Guarantee


class SharedSaver(PoolStrategy):
    """One pool, one saver."""

    name = "shared_saver"
    breaks = frozenset({Guarantee.NO_HANG})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pool = database.pool(min_size=1, max_size=4, timeout=5.0)

    async def open(self) -> None:
        """Open the pool and make the saver."""
        await self._pool.open()
        self._saver = AsyncPostgresSaver(self._pool)

    async def close(self) -> None:
        """Close the pool, at the very end."""
        await self._pool.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """The same for everybody."""
        return self._saver

    async def recreate(self) -> None:
        """Renew by draining."""
        await self._pool.drain()

    def stats(self) -> Mapping[str, int]:
        """The pool's numbers."""
        return self._pool.get_stats()
