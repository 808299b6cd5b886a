"""Planted: every request opens a pool of its own, works on it, and closes it neatly.

``async with AsyncConnectionPool(...) as pool`` in the request handler, as the examples have it. Each call is right by
itself. But a pool opens its minimum of four connections at once, so a handful of users hold as many backends as the
database has, and every turn pays for connecting.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, ClassVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle, PoolStrategy, Reply, Request
from harness.core.verdict import Guarantee

#: The pool of the request that the running task works for; LangGraph's own tasks inherit it.
_of_request: ContextVar[AsyncConnectionPool[Any]] = ContextVar("poolproof_pool_per_request")


class RequestSaver(AsyncPostgresSaver):
    """Works on the pool of the request."""

    @property
    def conn(self) -> AsyncConnectionPool[Any]:
        """The pool of the request."""
        return _of_request.get()

    @conn.setter
    def conn(self, value: Any) -> None:
        """The base class sets what it was given; the request says what is used."""


class PoolPerRequest(PoolStrategy):
    """A pool opened and closed for each call. A subclass may bring other ``settings`` for it."""

    name = "pool_per_request"
    breaks = frozenset({Guarantee.CONNECTION_BUDGET})
    settings: ClassVar[Mapping[str, Any]] = {"min_size": 4, "max_size": 4}

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver over whatever pool the request has."""
        return RequestSaver(self.database.pool())

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Open, work, close."""
        async with self.database.pool(**self.settings) as pool:
            _of_request.set(pool)
            return await request()
