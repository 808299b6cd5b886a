"""A session over TLS ends under a save, which is a pipeline of several statements.

Needs --dsn of a server with TLS, with sslmode=require
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, OperationalError

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of
from .sessions import END


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1) as pool, await AsyncConnection.connect(dsn) as admin:
        await (saver := AsyncPostgresSaver(pool)).setup()
        await admin.execute("LOCK TABLE checkpoints IN EXCLUSIVE MODE")  # a save waits in mid-pipeline
        asyncio.get_running_loop().call_later(2, asyncio.ensure_future, admin.execute(f"{END}; COMMIT"))
        with suppress(*(OperationalError,) * cured):
            await chat(saver).ainvoke(HELLO, THREAD)
        await chat(saver).ainvoke(HELLO, THREAD)  # the same turn again


if __name__ == "__main__":
    main(run, "OperationalError: .*SSL (error: bad length|connection has been closed unexpectedly)", embedded=False)
