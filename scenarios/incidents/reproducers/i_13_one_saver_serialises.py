"""One saver for all: its lock lets one call through at a time, so a larger pool changes nothing."""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=8, max_size=8) as pool, await AsyncConnection.connect(dsn) as slow:
        shared = AsyncPostgresSaver(pool)
        await shared.setup()
        await pool.wait()
        await slow.execute("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")  # reads take a while
        readers = [(AsyncPostgresSaver(pool) if cured else shared).aget_tuple(THREAD) for _ in range(8)]
        reading = asyncio.gather(*readers)
        await asyncio.sleep(1)
        stats = pool.get_stats()
        await slow.rollback()
        await reading
    lent, asked = stats["pool_size"] - stats["pool_available"], stats["requests_waiting"]
    if lent < 8:
        raise RuntimeError(f"8 readers, a pool of 8: {lent} connections lent, {asked} more asked for")


if __name__ == "__main__":
    main(run, "RuntimeError: 8 readers, a pool of 8: 1 connections lent, 0 more asked for")
