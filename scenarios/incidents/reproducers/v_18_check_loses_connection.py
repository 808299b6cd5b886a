"""A caller who is cancelled while check= asks its connection takes the connection along: soon nobody gets one.

psycopg/psycopg#1208
"""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from .ground import main
from .pools import THREAD, pool_of

SIZE = 2


async def slow(connection: AsyncConnection[Any]) -> None:
    await connection.execute("SELECT pg_sleep(0.5)")  # a busy server


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=SIZE, max_size=SIZE, timeout=4, check=None if cured else slow) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        for _ in range(2 * SIZE):
            caller = asyncio.create_task(AsyncPostgresSaver(pool).aget_tuple(THREAD))
            await asyncio.wait({caller}, timeout=0.2)
            caller.cancel()  # a client that went away
            await asyncio.wait({caller})
        await saver.aget_tuple(THREAD)


if __name__ == "__main__":
    main(run, r"PoolTimeout: couldn't get a connection after 4\.00 sec")
