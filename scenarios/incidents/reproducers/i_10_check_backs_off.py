"""Eight idle connections are dead, the database is well: check= backs off after each, and runs into PoolTimeout."""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    check = AsyncConnectionPool.check_connection
    async with pool_of(dsn, min_size=8, timeout=10, check=check) as pool, await AsyncConnection.connect(dsn) as admin:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        await pool.wait()
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        if cured:
            await pool.drain()
        await chat(saver).ainvoke(HELLO, THREAD)


if __name__ == "__main__":
    main(run, r"PoolTimeout: couldn't get a connection after 10\.00 sec")
