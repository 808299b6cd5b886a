"""A check= that always fails is asked again without a pause, for ever, and nothing else runs on that event loop.

psycopg/psycopg#709
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from .ground import main
from .pools import pool_of

LIMIT = 20_000
asked: Counter[str] = Counter()


class Enough(BaseException):
    """What a pool does not take for a connection that failed."""


async def wrong(connection: AsyncConnection[Any]) -> None:
    asked["so far"] += 1
    if asked["so far"] == LIMIT:
        raise Enough
    raise RuntimeError("a mistake in the callback")


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1, timeout=2, check=None if cured else wrong) as pool:
        with suppress(PoolTimeout, Enough):
            await pool.putconn(await pool.getconn())
    if asked["so far"] == LIMIT:
        raise RuntimeError(f"for one getconn(timeout=2) check= was asked {LIMIT} times, and no end")


if __name__ == "__main__":
    main(run, r"RuntimeError: for one getconn\(timeout=2\) check= was asked")
