"""Reported: two engines with pools of their own, and for each run of a graph a connection, from its start to its end.

``async with AsyncPostgresSaver.from_conn_string(...)`` in the handler: nothing bounds how many runs there are.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.core.verdict import Guarantee

#: The connection of the run that the running task works for; LangGraph's own tasks inherit it.
_of_run: ContextVar[AsyncConnection[DictRow]] = ContextVar("poolproof_connection_of_run")


class RunSaver(AsyncPostgresSaver):
    """Works on the connection of the run; the lock is the run's, too."""

    @property
    def conn(self) -> AsyncConnection[DictRow]:
        """The connection of the run."""
        return _of_run.get()

    @conn.setter
    def conn(self, value: Any) -> None:
        """The base class sets what it was given; the run says what is used."""


async def _use(connection: AsyncConnection[Any]) -> None:
    """A pooler in session mode gives a session with the first query."""
    await connection.execute("SELECT 1")


class ConnectionPerRun(PoolStrategy):
    """What the two engines do is not shown: they hold their connections."""

    name = "connection_per_run"
    breaks = frozenset({Guarantee.AVAILABLE})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._engines = [database.pool(min_size=3, max_size=3, configure=_use) for _ in range(2)]

    async def open(self) -> None:
        """Open the pools of both engines."""
        for engine in self._engines:
            await engine.open()

    async def close(self) -> None:
        """Close them."""
        for engine in self._engines:
            await engine.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver over whatever connection the run has."""
        return RunSaver(self._engines[0])

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Connect, run, close."""
        async with await AsyncConnection.connect(
            self.database.conninfo, autocommit=True, prepare_threshold=None, row_factory=dict_row
        ) as connection:
            _of_run.set(connection)
            return await request()
