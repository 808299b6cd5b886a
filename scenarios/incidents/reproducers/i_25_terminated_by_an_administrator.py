"""The server ended its sessions, and the pool hands them out."""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool, await AsyncConnection.connect(dsn) as admin:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        if cured:
            await pool.drain()
        await chat(saver).ainvoke(HELLO, THREAD)


if __name__ == "__main__":
    main(run, "AdminShutdown: terminating connection due to administrator command")
