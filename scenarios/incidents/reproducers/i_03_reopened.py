"""A pool is closed at the end of one life of the service and opened again by the next: that is refused for good."""

from __future__ import annotations

from contextlib import suppress

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import OperationalError

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    pool = pool_of(dsn)
    for life in range(2):
        if cured and life:
            pool = pool_of(dsn)
        with suppress(OperationalError):  # "cannot be reused" stands in a log, if anywhere
            await pool.open()
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        await chat(saver).ainvoke(HELLO, THREAD)
        await pool.close()


if __name__ == "__main__":
    main(run, r"PoolClosed: the pool '[^']+' is already closed")
