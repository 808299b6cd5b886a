"""Connections from a time when the server was read-only pass check= for ever, and can never write."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def writable(connection: AsyncConnection[Any]) -> None:
    row = await (await connection.execute("SHOW transaction_read_only")).fetchone()
    if row == {"transaction_read_only": "on"}:
        await connection.close()  # or the pool takes it back
        raise OperationalError("read-only")  # or the pool hands it out


async def run(dsn: str, cured: bool) -> None:
    check = writable if cured else AsyncConnectionPool.check_connection
    async with await AsyncConnection.connect(dsn, autocommit=True) as admin, pool_of(dsn, check=check) as pool:
        await AsyncPostgresSaver(pool).setup()
        await admin.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
        await pool.drain()  # the pool connects anew during the failover
        await pool.wait()
        await admin.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
        await chat(AsyncPostgresSaver(pool)).ainvoke(HELLO, THREAD)


if __name__ == "__main__":
    main(run, "ReadOnlySqlTransaction: cannot execute INSERT in a read-only transaction")
