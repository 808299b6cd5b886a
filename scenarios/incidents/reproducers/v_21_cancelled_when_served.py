"""A caller who is cancelled in the moment in which the pool hands it a connection goes on as if it were not.

psycopg/psycopg#1275
"""

from __future__ import annotations

import asyncio
from typing import Any

from .ground import main
from .pools import pool_of


async def wait_for(work: Any, timeout: float | None) -> Any:
    async with asyncio.timeout(timeout):
        return await work


# As Python 3.12 has it; that of 3.11 drops such a cancellation itself, whatever the pool.
asyncio.wait_for = wait_for  # type: ignore[assignment]


async def caller(pool: Any) -> None:
    async with pool.connection():
        await asyncio.sleep(3)


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1) as pool:
        connection = await pool.getconn()
        waiting = asyncio.create_task(caller(pool))
        await asyncio.sleep(0.5)
        await pool.putconn(connection)
        waiting.cancel()
        if cured:
            asyncio.get_running_loop().call_later(0.1, waiting.cancel)
        ended, _ = await asyncio.wait({waiting}, timeout=1)
        await asyncio.wait({waiting})
    if not ended:
        raise RuntimeError("a caller that was cancelled went on for seconds")


if __name__ == "__main__":
    main(run, "RuntimeError: a caller that was cancelled went on")
