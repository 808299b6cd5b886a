"""from_conn_string holds one connection; a server that ends idle sessions ends the saver for good."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.conninfo import make_conninfo
from psycopg.errors import IdleSessionTimeout
from psycopg_pool import AsyncConnectionPool

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def turns(saver: AsyncPostgresSaver) -> None:
    await saver.setup()
    for _ in range(3):
        await asyncio.sleep(1.5)  # a long model call
        with suppress(IdleSessionTimeout):  # the first error; what comes after it stays
            await chat(saver).ainvoke(HELLO, THREAD)


async def run(dsn: str, cured: bool) -> None:
    dsn = make_conninfo(dsn, options="-c idle_session_timeout=700")
    if not cured:
        async with AsyncPostgresSaver.from_conn_string(dsn) as saver:
            await turns(saver)
    async with pool_of(dsn, check=AsyncConnectionPool.check_connection, min_size=1) as pool:
        await turns(AsyncPostgresSaver(pool))


if __name__ == "__main__":
    main(run, "OperationalError: the connection is closed")
