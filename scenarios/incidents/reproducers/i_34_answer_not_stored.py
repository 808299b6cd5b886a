"""Durability async, the default: a save fails early, the run goes on to its last step, and most of it is not stored."""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import PoolTimeout

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    shown = 0
    async with pool_of(dsn, min_size=1, max_size=1, timeout=0.5) as pool:
        agent = chat(saver := AsyncPostgresSaver(pool), steps=8)
        await saver.setup()
        try:
            async for _ in agent.astream(HELLO, THREAD, durability="sync" if cured else "async"):
                shown += 1
                await asyncio.sleep(0.2)
                if shown == 2:  # the database is away for a second
                    away = await pool.getconn()
                    asyncio.get_running_loop().call_later(1, asyncio.ensure_future, pool.putconn(away))
        except PoolTimeout as error:
            print(f"after {shown} of 8 steps: {error}")
        await asyncio.sleep(1)
        if shown - (stored := len((await agent.aget_state(THREAD)).values["messages"]) - 1) > 1:
            raise RuntimeError(f"{shown} steps were shown to the user, {stored} are stored")


if __name__ == "__main__":
    main(run, "RuntimeError: [78] steps were shown to the user, [0-3] are stored")
