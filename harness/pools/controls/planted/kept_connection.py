"""Planted: one connection is borrowed from the pool and never given back.

A health check that calls ``getconn()`` and returns early, once. Nobody notices: the pool goes on with one connection
fewer, closing it leaves borrowed ones alone, and the backend stands in Postgres until the process ends.
"""

from __future__ import annotations

from psycopg import AsyncConnection

from harness.core.pool import Database
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool


class KeptConnection(OnePool):
    """Leaks exactly one connection for each replica group."""

    name = "kept_connection"
    breaks = frozenset({Guarantee.CONNECTION_BUDGET})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._probe: AsyncConnection[object] | None = None

    async def ensure_healthy(self) -> None:
        """The first check takes a connection, and keeps it for the next ones."""
        if self._probe is None:
            self._probe = await self.pool.getconn()
        await self._probe.execute("SELECT 1")
