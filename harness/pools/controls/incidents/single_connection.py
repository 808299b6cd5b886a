"""Reported: one connection for each agent, as ``AsyncPostgresSaver.from_conn_string`` makes it, for as long as it
lives.
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from harness.core.pool import AgentHandle, Database, PoolStrategy
from harness.core.verdict import Guarantee


class SingleConnection(PoolStrategy):
    """Nothing ever connects again."""

    name = "single_connection"
    breaks = frozenset({Guarantee.RECOVERS, Guarantee.NO_HANG})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.connections: list[AsyncConnection[DictRow]] = []

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """What ``from_conn_string`` does, without the context manager that would close it."""
        connection = await AsyncConnection.connect(
            self.database.conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row
        )
        self.connections.append(connection)
        return AsyncPostgresSaver(connection)

    async def close(self) -> None:
        """Close them all, at the very end."""
        for connection in self.connections:
            await connection.close()
