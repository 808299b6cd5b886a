"""The pool is closed while a run still saves in the background: its task meets PoolClosed."""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool, await AsyncConnection.connect(dsn) as slow:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        await slow.execute("LOCK TABLE checkpoints IN EXCLUSIVE MODE")  # saves wait, as on a busy database
        turn = asyncio.create_task(chat(saver).ainvoke(HELLO, THREAD))
        await asyncio.sleep(1)
        if cured:
            asyncio.get_running_loop().call_later(0.5, asyncio.ensure_future, slow.rollback())
            await turn  # the reload waits for the runs that are under way
        await pool.close()
        await slow.rollback()
        await turn


if __name__ == "__main__":
    main(run, r"PoolClosed: the pool '[^']+' is already closed")
