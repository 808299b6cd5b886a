"""Reported: one pool as LangGraph's documentation shows it. Nothing looks at a connection before it is handed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.pool import AgentHandle, Database, PoolStrategy


class PoolWithoutCheck(PoolStrategy):
    """A subclass may bring other ``settings`` for the pool."""

    name = "pool_without_check"
    settings: ClassVar[Mapping[str, Any]] = {"min_size": 4, "max_size": 4, "timeout": 3.0}

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.pool = database.pool(**self.settings)

    async def open(self) -> None:
        """Open the pool."""
        await self.pool.open()

    async def close(self) -> None:
        """Close it, at the very end."""
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own over the one pool."""
        return AsyncPostgresSaver(self.pool)

    async def recreate(self) -> None:
        """Renew by draining."""
        await self.pool.drain()

    def stats(self) -> Mapping[str, int]:
        """The pool's numbers."""
        return self.pool.get_stats()
