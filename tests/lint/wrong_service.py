"""A service in which everything is misconfigured that can be seen in a module. Imported by tests only, never run."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import MessagesState, StateGraph
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool


async def writable(connection: AsyncConnection[Any]) -> None:
    """A check without a deadline."""
    await connection.execute("SHOW transaction_read_only")


pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
    "host=db.pooler.example.com password=hunter2", open=False, min_size=1, max_size=60, check=writable
)


class BaseAgent:
    """As in the post."""

    _shared_pool: AsyncConnectionPool[Any] = AsyncConnectionPool("host=db", open=False, max_size=40)
    not_made_yet: AsyncConnectionPool[Any] | None = None

    async def start(self) -> None:
        """Each agent sets up."""
        saver = AsyncPostgresSaver(self._shared_pool)
        await saver.setup()
        graph: StateGraph[MessagesState] = StateGraph(MessagesState)
        self.graphs = graph.compile(checkpointer=saver), graph.compile(checkpointer=saver)

    async def _recreate_pool(self) -> None:
        """Reached from its name alone."""
        await self._open_anew()

    async def _open_anew(self) -> None:
        await self._shared_pool.close()
        await self._shared_pool.open(wait=True, timeout=5)


async def one_connection() -> None:
    """The quick start's."""
    async with AsyncPostgresSaver.from_conn_string("host=db") as saver:
        await saver.aget_tuple({"configurable": {"thread_id": "t"}})
