"""A class-level pool is closed and opened anew while an agent lives: its saver keeps the closed one."""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        agent = chat(saver)
        await agent.ainvoke(HELLO, THREAD)
        if cured:
            await pool.drain()  # every connection is replaced, and the pool that everybody knows stays open
        else:
            await pool.close()  # a health check timed out; the pool that it opens next is unknown to this agent
        await agent.ainvoke(HELLO, THREAD)


if __name__ == "__main__":
    main(run, r"PoolClosed: the pool '[^']+' is already closed")
