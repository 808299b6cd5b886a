"""The server ends sessions that idle for the length of a model call; over TLS the next save says so in its own words.

Needs --dsn of a server with TLS, with sslmode=require
"""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of
from .tls import with_tls


async def run(dsn: str, cured: bool) -> None:
    check = AsyncConnectionPool.check_connection if cured else None
    dsn = make_conninfo(dsn, options="-c idle_session_timeout=700")
    async with pool_of(dsn, check=check, min_size=1, max_size=1) as pool:
        await with_tls(pool)
        await (saver := AsyncPostgresSaver(pool)).setup()
        async for _ in chat(saver).astream(HELLO, THREAD):
            await asyncio.sleep(1.5)  # a long model call


if __name__ == "__main__":
    main(run, "OperationalError: .*SSL connection has been closed unexpectedly", embedded=False)
