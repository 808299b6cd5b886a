"""Two replicas answer one conversation at the same time: both succeed, and what one of them stored is never read."""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from .chat import chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool:
        await (saver := AsyncPostgresSaver(pool)).setup()

        async def replica(said: str) -> None:
            async with await AsyncConnection.connect(dsn, autocommit=True) as lease:
                if cured:  # one writer for each conversation; the lock goes with its connection
                    await lease.execute("SELECT pg_advisory_lock(hashtextextended('t', 0))")
                await chat(AsyncPostgresSaver(pool)).ainvoke({"messages": [said]}, THREAD)

        await asyncio.gather(replica("one"), replica("two"))
        stored = (await chat(saver).aget_state(THREAD)).values["messages"]
    if len(said := {str(message.content) for message in stored} - {"hello"}) < 2:
        raise RuntimeError(f"two turns were answered, stored is {said}")


if __name__ == "__main__":
    main(run, "RuntimeError: two turns were answered, stored is {'(one|two)'}")
