"""Where the database of a cell comes from, and where it goes: on our own Postgres, a copy of the template."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg import sql

from harness.core.environment import Endpoint
from harness.core.errors import ComponentError
from harness.environments.postgres import AGENT_ROLE, TEMPLATE_DATABASE, admin_conninfo
from harness.environments.processes import start_ticks
from harness.environments.toxiproxy import ToxiproxyClient

_ADMIN_LIMIT_S = 15.0
_OF_CELLS = "SELECT datname FROM pg_database WHERE datname LIKE 'cell\\_%'"
#: Databases and proxies carry the pid of the process that runs their cell.
_OWNER = re.compile(r"^(?:cell_|pp-)(\d+)[_-]")


class Databases(Protocol):
    """Makes and drops the databases of cells. All methods raise ComponentError."""

    def name(self, short: str) -> str:
        """What the database of the cell that is called ``short`` is to be called."""
        ...

    def agents(self, name: str) -> Endpoint:
        """How agents reach it, without the proxy."""
        ...

    async def create(self, name: str) -> None:
        """Make it, with the saver's tables in it; what dead cells left is removed on the way."""
        ...

    async def drop(self, name: str) -> None:
        """Remove it with every connection to it; no error if it is not there."""
        ...


@dataclass(frozen=True, slots=True)
class OwnDatabases:
    """On a server of our own, where we may do as we like. ``api`` is Toxiproxy's."""

    admin: Endpoint
    agent_password: str
    api: tuple[str, int]

    def name(self, short: str) -> str:
        return f"cell_{os.getpid()}_{short}"

    def agents(self, name: str) -> Endpoint:
        admin = self.admin
        return Endpoint(admin.host, admin.port, name, AGENT_ROLE, self.agent_password, admin.options)

    async def create(self, name: str) -> None:
        """A copy of the template; databases and proxies of cells whose process died are removed on the way."""
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
            sql.Identifier(name), sql.Identifier(TEMPLATE_DATABASE), sql.Identifier(AGENT_ROLE)
        )
        async with admin_session(self.admin) as connection:
            rows = await (await connection.execute(_OF_CELLS)).fetchall()
            for abandoned in (str(row[0]) for row in rows):
                if owner_is_dead(abandoned):
                    await self.drop(abandoned)
                    await asyncio.to_thread(drop_proxies_of_the_dead, self.api)
            await connection.execute(copy)

    async def drop(self, name: str) -> None:
        query = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        await admin_query(self.admin, query)


def drop_proxies_of_the_dead(api: tuple[str, int]) -> None:
    """Remove the proxies of cells whose process died."""
    client = ToxiproxyClient(*api)
    try:
        for name in client.proxy_names():
            if owner_is_dead(name):
                client.destroy(name)
    finally:
        client.close()


def owner_is_dead(name: str) -> bool:
    """True if the process whose pid a database or proxy carries in its name is no more."""
    found = _OWNER.match(name)
    return found is not None and start_ticks(int(found.group(1))) is None


@asynccontextmanager
async def admin_session(admin: Endpoint) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """A fresh connection for the block, which has a bound. Raises ComponentError."""
    try:
        async with asyncio.timeout(_ADMIN_LIMIT_S):
            async with await psycopg.AsyncConnection.connect(admin_conninfo(admin), autocommit=True) as connection:
                yield connection
    except (psycopg.Error, OSError, TimeoutError) as error:
        reason = str(error).strip() or type(error).__name__
        raise ComponentError(f"Postgres at {admin.host}:{admin.port} does not obey: {reason}") from error


async def admin_query(admin: Endpoint, query: str | sql.Composed) -> list[tuple[Any, ...]]:
    """One statement on a fresh connection, with a bound. Raises ComponentError."""
    async with admin_session(admin) as connection:
        cursor = await connection.execute(query)
        return await cursor.fetchall() if cursor.description else []
