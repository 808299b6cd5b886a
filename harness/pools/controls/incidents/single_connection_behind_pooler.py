"""Reported as a fault of pipelines behind PgBouncer; here without any pipeline: one connection, in transaction mode."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from harness.core.environment import Capability
from harness.core.pool import AgentHandle
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.single_connection import SingleConnection


class SingleConnectionBehindPooler(SingleConnection):
    """``supports_pipeline`` is set to False, as the report advises."""

    name = "single_connection_behind_pooler"
    breaks = frozenset({Guarantee.RECOVERS})
    needs = frozenset({Capability.PGBOUNCER_TRANSACTION})

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """Neither pipelines nor prepared statements."""
        connection = await AsyncConnection.connect(
            self.database.conninfo, autocommit=True, prepare_threshold=None, row_factory=dict_row
        )
        self.connections.append(connection)
        saver = AsyncPostgresSaver(connection)
        saver.supports_pipeline = False
        return saver
