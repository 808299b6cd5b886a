"""A service in which nothing is misconfigured. Imported by tests only, never run."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

SETTINGS = {"autocommit": True, "prepare_threshold": None, "row_factory": dict_row}


async def answers(connection: AsyncConnection[Any]) -> None:
    """A check that ends."""
    async with asyncio.timeout(1):
        await connection.execute("SELECT 1")


pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
    "host=db port=6432 connect_timeout=3", open=False, min_size=2, max_size=8, kwargs=SETTINGS, check=answers
)


async def migrate() -> None:
    """A job of its own."""
    await AsyncPostgresSaver(pool).setup()


async def start() -> None:
    """At start-up a pool that does not fill should end the process."""
    await pool.open(wait=True, timeout=5)


async def recreate_pool() -> None:
    """Nothing is closed."""
    await pool.drain()


def saver() -> AsyncPostgresSaver:
    """One for each agent."""
    return AsyncPostgresSaver(pool)
