"""Reported: a graph is compiled inside ``async with AsyncPostgresSaver.from_conn_string(...)`` and used after it.

Leaving the block closes the connection; the saver and the graph know nothing of that.
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.pool import AgentHandle, PoolStrategy
from harness.core.verdict import Guarantee


class SaverOutsideItsContext(PoolStrategy):
    """The agent outlives the block that its saver belongs to."""

    name = "saver_outside_its_context"
    breaks = frozenset({Guarantee.AVAILABLE})

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """As a factory function has it that returns its graph from within the block."""
        async with AsyncPostgresSaver.from_conn_string(self.database.conninfo) as saver:
            return saver
