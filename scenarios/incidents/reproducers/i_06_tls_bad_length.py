"""A session over TLS ends under a save, which is a pipeline of several statements.

Needs --dsn of a server with TLS, with sslmode=require
"""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, OperationalError

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of
from .tls import with_tls

END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ 'checkpoints'"
)


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool, await AsyncConnection.connect(dsn) as admin:
        await with_tls(pool)
        await (saver := AsyncPostgresSaver(pool)).setup()
        await admin.execute("LOCK TABLE checkpoints IN EXCLUSIVE MODE")  # the save is under way, and waits
        turn = asyncio.create_task(chat(saver).ainvoke(HELLO, THREAD))
        await asyncio.sleep(1)
        await admin.execute(END)
        await admin.rollback()
        try:
            await turn
        except OperationalError:
            if not cured:
                raise
            await chat(saver).ainvoke(HELLO, THREAD)  # the turn again, on another connection


if __name__ == "__main__":
    main(run, "SSL error: bad length|SSL connection has been closed unexpectedly", embedded=False)
