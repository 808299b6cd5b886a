"""Planted: while the database is away the agents keep their checkpoints in the memory of the process.

"We stay up during an outage." Turns taken meanwhile are acknowledged, no other replica ever sees them, and when the
health check switches back they are gone.
"""

from __future__ import annotations

from typing import Any

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool, logger


class MemoryFallback(OnePool):
    """Two savers for each agent."""

    name = "memory_fallback"
    breaks = frozenset({Guarantee.NO_LOST_TURN})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._memory: BaseCheckpointSaver[Any] = InMemorySaver()
        self._away: dict[str, AgentHandle] = {}

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """From Postgres, or else from memory."""
        try:
            return await request()
        except psycopg.OperationalError as error:
            logger.warning("%s falls back to memory: %s", agent.replica, error)
            self._away[agent.replica] = agent
            agent.checkpointer = self._memory
            return await request()

    async def ensure_healthy(self) -> None:
        """Back to Postgres as soon as it answers."""
        if self._away and await self.answers():
            while self._away:
                _, agent = self._away.popitem()
                agent.checkpointer = AsyncPostgresSaver(self.pool)
