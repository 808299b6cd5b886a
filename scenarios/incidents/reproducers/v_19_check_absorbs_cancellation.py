"""asyncio.wait_for around a checkout does not fire while check= is under way: the cancellation passes for a bad check.

psycopg/psycopg#1401
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from psycopg import AsyncConnection

from .ground import main
from .pools import pool_of


async def slow(connection: AsyncConnection[Any]) -> None:
    await connection.execute("SELECT pg_sleep(3)")  # a busy server


async def bounded(connection: AsyncConnection[Any]) -> None:
    async with asyncio.timeout(0.4):
        await slow(connection)


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1, check=bounded if cured else slow) as pool:
        await pool.wait()
        began = perf_counter()
        try:
            await pool.putconn(await asyncio.wait_for(pool.getconn(), 1))
        except TimeoutError:
            return
    raise RuntimeError(f"wait_for(getconn(), 1) gave a connection after {perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main(run, r"RuntimeError: wait_for\(getconn\(\), 1\) gave a connection after [3-9]")
