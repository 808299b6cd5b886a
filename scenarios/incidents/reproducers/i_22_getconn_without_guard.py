"""A request is cancelled between getconn() and the try that would give the connection back: it is gone for good."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .ground import main
from .pools import THREAD, pool_of


async def unguarded(pool: Any) -> None:
    connection = await pool.getconn()
    await connection.execute("SELECT pg_sleep(1)")  # what is done before the work
    try:
        await connection.execute("SELECT 1")
    finally:
        await pool.putconn(connection)


async def guarded(pool: Any) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_sleep(1)")


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1, timeout=3) as pool:
        await (saver := AsyncPostgresSaver(pool)).setup()
        with suppress(TimeoutError):  # the client has gone
            await asyncio.wait_for(guarded(pool) if cured else unguarded(pool), 0.3)
        await saver.aget_tuple(THREAD)


if __name__ == "__main__":
    main(run, r"PoolTimeout: couldn't get a connection after 3\.00 sec")
