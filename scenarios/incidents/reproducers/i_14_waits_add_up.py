"""One saver for all, and no connection to be had: its lock is taken before the pool is asked, so timeouts add up."""

from __future__ import annotations

import asyncio
from time import perf_counter

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import PoolTimeout

from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1, timeout=1) as pool:
        shared = AsyncPostgresSaver(pool)
        await shared.setup()

        async def user() -> float:
            began = perf_counter()
            try:
                await (AsyncPostgresSaver(pool) if cured else shared).aget_tuple(THREAD)
            except PoolTimeout:
                return perf_counter() - began
            raise AssertionError("there was a connection")

        async with pool.connection():  # nobody else gets one, as in an outage
            waited = await asyncio.gather(*(user() for _ in range(5)))
    if max(waited) > 2:
        raise TimeoutError(f"pool timeout 1 s, and users waited {', '.join(f'{s:.1f}' for s in waited)} s")


if __name__ == "__main__":
    main(run, "TimeoutError: pool timeout 1 s, and users waited")
