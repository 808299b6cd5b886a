"""Five agents at a cold start find that there is no pool yet, and each opens one; four are never closed."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

from psycopg import AsyncConnection

from .ground import main
from .pools import pool_of

OPEN = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


async def run(dsn: str, cured: bool) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as admin:
        known: list[Any] = []
        lock = asyncio.Lock()
        before = (await admin.execute(OPEN)).rowcount

        async def get_pool() -> Any:
            async with lock if cured else nullcontext():
                if not known:
                    await (pool := pool_of(dsn)).open()
                    await pool.wait()
                    known[:] = [pool]
                    return pool
                return known[0]

        agents = await asyncio.gather(*(get_pool() for _ in range(5)))
        await known[0].close()
        await asyncio.sleep(1)
        if left := (await admin.execute(OPEN)).rowcount - before:
            raise RuntimeError(f"{len(agents)} agents, the pool is closed, and {left} connections are open")


if __name__ == "__main__":
    main(run, "RuntimeError: 5 agents, the pool is closed, and 16 connections are open")
