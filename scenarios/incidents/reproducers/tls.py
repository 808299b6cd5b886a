"""What is to be shown needs TLS."""

from __future__ import annotations

from typing import Any


async def with_tls(pool: Any) -> None:
    async with pool.connection() as connection:
        if not connection.pgconn.ssl_in_use:
            raise SystemExit("the session has no TLS: give --dsn of a server that has it, with sslmode=require")
