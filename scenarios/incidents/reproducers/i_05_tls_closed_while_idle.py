"""Sessions end that idle for the length of a model call; over TLS the next save says so in words of its own.

Needs --dsn of a server with TLS, with sslmode=require
"""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of
from .sessions import END


async def run(dsn: str, cured: bool) -> None:
    check = AsyncConnectionPool.check_connection if cured else None
    async with pool_of(dsn, check=check, min_size=1, max_size=1) as pool, await AsyncConnection.connect(dsn) as admin:
        await (saver := AsyncPostgresSaver(pool)).setup()
        async for step in chat(saver).astream(HELLO, THREAD, durability="sync"):
            if "step_0" in step:
                await asyncio.sleep(2)  # a long model call: what was to be saved is, and the session idles
                await admin.execute(END)


if __name__ == "__main__":
    main(run, "OperationalError: .*SSL connection has been closed unexpectedly", embedded=False)
