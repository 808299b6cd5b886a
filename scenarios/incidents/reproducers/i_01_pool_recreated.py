"""A class-level pool is closed and opened anew while an agent lives: its saver keeps the closed one."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from scenarios.incidents.reproducers.chat import THREAD, chat, pool_of
from scenarios.incidents.reproducers.ground import main


async def conversation(dsn: str, recreates: bool) -> None:
    pool: Any = pool_of(dsn)
    await pool.open()
    saver = AsyncPostgresSaver(pool)
    await saver.setup()
    agent = chat(saver)
    await agent.ainvoke({"n": 0}, THREAD)
    if recreates:  # what a health check does after a timeout
        await pool.close()
        pool = pool_of(dsn)
        await pool.open()
    else:
        await pool.drain()  # new connections, and the pool that everybody knows stays open
    await agent.ainvoke({"n": 0}, THREAD)
    await pool.close()


if __name__ == "__main__":
    main(
        lambda dsn: conversation(dsn, recreates=True),
        lambda dsn: conversation(dsn, recreates=False),
        r"PoolClosed: the pool '[^']+' is already closed",
    )
