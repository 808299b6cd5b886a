"""What the faults that speak SQL share: statements over the unfaulted admin connection, and who is ended with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import sql

from harness.core.environment import Environment
from harness.core.errors import ComponentError
from harness.core.verdict import Json

#: How the harness calls its own connections: they are no backends of the cell.
ADMIN_NAME = "pp-admin"

_LIMIT_S = 15.0
_OPTIONS = "-c statement_timeout=10s -c lock_timeout=5s"

#: The states of ``pg_stat_activity`` that are meant.
STATES = {"idle": "state = 'idle'", "busy": "state <> 'idle'", "all": "true"}

_TERMINATE = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
  AND application_name <> {} AND {}
"""


@asynccontextmanager
async def admin(env: Environment) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection of the superuser to the cell's database. What goes wrong with it is a ComponentError."""
    try:
        conninfo = env.admin.conninfo(application_name=ADMIN_NAME, options=_OPTIONS)
        connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        try:
            yield connection
        finally:
            await connection.close()  # nothing is awaited in it: a cancellation cannot leave it open
    except (psycopg.Error, OSError, TimeoutError) as error:
        reason = str(error).strip() or type(error).__name__
        raise ComponentError(f"Postgres at {env.admin.host}:{env.admin.port} does not obey: {reason}") from error


async def ask(env: Environment, query: str | sql.Composable) -> list[tuple[Any, ...]]:
    """One statement on a connection of its own, within 15 s. Raises ComponentError."""
    async with admin(env) as connection, asyncio.timeout(_LIMIT_S):
        cursor = await connection.execute(query)  # type: ignore[arg-type]  # ours, and no user's text in it
        return await cursor.fetchall() if cursor.description else []


async def terminate(env: Environment, which: str = "all") -> int:
    """End the cell's own backends (``STATES``); returns how many were there. Those of the harness stay."""
    condition = sql.SQL(STATES[which])
    rows = await ask(env, sql.SQL(_TERMINATE).format(sql.Literal(ADMIN_NAME), condition))
    return int(rows[0][0])


async def database_setting(env: Environment, column: str) -> Json:
    """What the catalogue says of the cell's database, read back."""
    query = sql.SQL("SELECT {} FROM pg_database WHERE datname = current_database()")
    rows = await ask(env, query.format(sql.Identifier(column)))
    value: Json = rows[0][0]
    return value
