"""The environment of one cell: its own database, its own proxy and, where asked, its own PgBouncer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from harness.core.environment import Capability, Endpoint, Traffic
from harness.core.errors import ComponentError
from harness.environments.clock import RealClock
from harness.environments.pgbouncer import POOL_MODES
from harness.environments.postgres import (
    AGENT_ROLE,
    CONNECT_OPTIONS,
    TEMPLATE_DATABASE,
    admin_conninfo,
    connect,
)
from harness.environments.processes import start_ticks
from harness.environments.servers import Pooler, Servers
from harness.environments.surroundings import without_pg_variables
from harness.environments.toxiproxy import CellProxy, ToxiproxyClient

#: What a careful service says in its DSN. Behind a proxy that acknowledges they bound nothing; on a real network
#: keepalives and the user timeout together end a wait on a vanished peer.
AGENT_OPTIONS = {
    **CONNECT_OPTIONS,
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}

_ADMIN_LIMIT_S = 15.0
_STEP_LIMIT_S = 30.0
_SAMPLE_LIMIT_S = 2.0
#: Databases and proxies carry the pid of the process that runs their cell.
_OWNER = re.compile(r"^(?:cell_|pp-)(\d+)[_-]")


class CellEnvironment:
    """Implements ``core.environment.Environment``. The runner sets ``traffic`` before the first fault."""

    traffic: Traffic

    def __init__(
        self,
        servers: Servers,
        name: str,
        groups: Sequence[str],
        database: Endpoint,
        capabilities: frozenset[Capability],
    ) -> None:
        self.clock = RealClock()
        self.capabilities = capabilities
        self.admin = replace(servers.admin, dbname=database.dbname)
        self.endpoint = database
        self.proxy: CellProxy
        self.logs: dict[str, Path] = dict(servers.logs)
        self.pooler: Pooler | None = None
        self._servers = servers
        self._names = {group: f"pp-{name}-{group}" for group in groups}
        self._sampler: psycopg.Connection[tuple[object, ...]] | None = None

    def application_name(self, group: str) -> str:
        """What the group's connections are called in ``pg_stat_activity``."""
        return self._names[group]

    def conninfo(self, group: str) -> str:
        """How the group's agents connect: through the proxy and, where there is one, the pooler."""
        return self.endpoint.conninfo(application_name=self._names[group])

    def backends(self) -> dict[str, tuple[int, ...]]:
        """Pids of the cell's client backends, per group. Blocking, within 2 s per connection and per query.

        For one thread at a time: it keeps an admin connection of its own. A backend that a pooler keeps idle counts
        for the group that used it last, and for none once the pooler has reset it. Raises ComponentError.
        """
        try:
            if self._sampler is None or self._sampler.closed:
                with without_pg_variables():
                    self._sampler = connect(self._servers.admin)
            rows = _query_within(self._sampler, _BACKENDS_QUERY % self.admin.dbname.encode(), _SAMPLE_LIMIT_S)
        except (psycopg.Error, OSError) as error:
            self.stop_sampling()
            raise ComponentError(f"Postgres does not tell its backends: {error}") from error
        groups = {name: group for group, name in self._names.items()}
        pids: dict[str, list[int]] = {group: [] for group in self._names}
        for pid, application_name in rows:
            if application_name in groups:
                pids[groups[application_name]].append(int(pid))
        return {group: tuple(sorted(found)) for group, found in pids.items()}

    def revive(self) -> str:
        """Start a pooler that died again, as a supervisor would; what it said last, or nothing. Main thread only."""
        return self.pooler.revive() if self.pooler is not None else ""

    async def leftovers(self) -> tuple[str, ...]:
        """What still stands that should not, in words: toxics, a closed proxy, backends at work, locks."""
        left = [f"toxic {name}" for name in await self.proxy.toxics()]
        if not await self.proxy.enabled():
            left.append("the proxy is disabled")
        left += [f"{name} is dead" for name in self._servers.dead()]
        if self.pooler is not None and not self.pooler.alive():
            left.append("PgBouncer is dead")
        activity = await _admin_query(self.admin, _LEFTOVER_QUERY)
        return (*left, *(str(row[0]) for row in activity))

    async def leftover_backends(self, groups: Sequence[str]) -> dict[str, int]:
        """Connections that each group still holds: clients of the pooler where there is one, else backends."""
        if self.pooler is not None:
            counts = await asyncio.to_thread(self.pooler.clients)
        else:
            rows = await _admin_query(self.admin, _COUNT_QUERY)
            counts = {str(name): int(count) for name, count in rows}
        return {group: counts.get(self._names[group], 0) for group in groups}

    def stop_sampling(self) -> None:
        """Close the sampler's connection; ``backends`` would open another."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None


#: The name is one of ours: letters, digits and underscores.
_BACKENDS_QUERY = b"""
SELECT pid, application_name FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '%s'
"""

_COUNT_QUERY = """
SELECT application_name, count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() GROUP BY 1
"""

_LEFTOVER_QUERY = """
SELECT format('backend %s of %s is %s', pid, application_name, state) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
  AND application_name <> 'pp-admin' AND state <> 'idle'
UNION ALL
SELECT format('advisory lock of backend %s', pid) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@asynccontextmanager
async def cell_environment(
    servers: Servers, cell_id: str, groups: Sequence[str], pooler: Capability | None
) -> AsyncIterator[CellEnvironment]:
    """Make the parts of one cell and take them away again; see ``Stack.cell``."""
    short = secrets.token_hex(3)
    name = f"cell_{os.getpid()}_{short}"
    admin = servers.admin
    database = Endpoint(admin.host, admin.port, name, AGENT_ROLE, servers.agent_password, AGENT_OPTIONS)
    capabilities = frozenset({Capability.POSTGRES, Capability.TOXIPROXY} | ({pooler} if pooler else set()))
    environment = CellEnvironment(servers, short, groups, database, capabilities)
    problems: list[ComponentError] = []
    try:
        with without_pg_variables():
            async with contextlib.AsyncExitStack() as undo:

                def afterwards(step: Callable[[], Awaitable[None]]) -> None:
                    undo.push_async_callback(_to_the_end, step, problems)

                # registered before the step itself: a step may have worked although it was cancelled or raised
                afterwards(partial(_drop_database, servers, name))
                await _create_database(servers, name)
                afterwards(partial(asyncio.to_thread, servers.collect_logs))
                undo.callback(environment.stop_sampling)
                upstream = servers.upstream
                if pooler is not None:
                    environment.pooler = servers.start_pooler(POOL_MODES[pooler], database, name)
                    afterwards(partial(asyncio.to_thread, environment.pooler.stop))
                    environment.logs["pgbouncer"] = environment.pooler.log
                    upstream = environment.pooler.upstream
                listener = servers.listener()
                undo.callback(listener.release)
                proxy = CellProxy(servers.api, f"pp-{os.getpid()}-{short}", listener.listen, upstream)
                afterwards(proxy.close)
                await proxy.open()
                environment.proxy = proxy
                environment.endpoint = replace(database, host=listener.host, port=listener.port)
                yield environment
    except BaseException as error:
        for problem in problems:
            error.add_note(f"and while cell {cell_id} was taken down: {problem}")
        raise
    if problems:
        raise problems[0]


async def _to_the_end(step: Callable[[], Awaitable[None]], problems: list[ComponentError]) -> None:
    """Carry out one step of the tear-down even if we are cancelled meanwhile; what it raises is kept for later."""
    task = asyncio.ensure_future(step())
    deadline = time.monotonic() + _STEP_LIMIT_S
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and (left := deadline - time.monotonic()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.done():
        task.cancel()
        problems.append(ComponentError(f"a step of the tear-down had not ended after {_STEP_LIMIT_S:g} s"))
    elif (failure := task.exception()) is not None:
        problems.append(failure if isinstance(failure, ComponentError) else ComponentError(repr(failure)))
    if cancelled is not None:
        raise cancelled


async def _create_database(servers: Servers, name: str) -> None:
    """A copy of the template; databases and proxies of cells whose process died are removed on the way."""
    rows = await _admin_query(servers.admin, "SELECT datname FROM pg_database WHERE datname LIKE 'cell\\_%'")
    for abandoned in (str(row[0]) for row in rows):
        if _owner_is_dead(abandoned):
            await _drop_database(servers, abandoned)
            await asyncio.to_thread(_drop_proxies_of_the_dead, servers.api)
    await _admin_query(
        servers.admin,
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
            sql.Identifier(name), sql.Identifier(TEMPLATE_DATABASE), sql.Identifier(AGENT_ROLE)
        ),
    )


async def _drop_database(servers: Servers, name: str) -> None:
    query = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    await _admin_query(servers.admin, query)


def _drop_proxies_of_the_dead(api: tuple[str, int]) -> None:
    client = ToxiproxyClient(*api)
    try:
        for name in client.proxy_names():
            if _owner_is_dead(name):
                client.destroy(name)
    finally:
        client.close()


def _owner_is_dead(name: str) -> bool:
    found = _OWNER.match(name)
    return found is not None and start_ticks(int(found.group(1))) is None


async def _admin_query(admin: Endpoint, query: str | sql.Composed) -> list[tuple[Any, ...]]:
    """One statement on a fresh connection, with a bound. Raises ComponentError."""
    try:
        async with asyncio.timeout(_ADMIN_LIMIT_S):
            connection = await psycopg.AsyncConnection.connect(admin_conninfo(admin), autocommit=True)
            async with connection:
                cursor = await connection.execute(query)
                return await cursor.fetchall() if cursor.description else []
    except (psycopg.Error, OSError, TimeoutError) as error:
        reason = str(error).strip() or type(error).__name__
        raise ComponentError(f"Postgres at {admin.host}:{admin.port} does not obey: {reason}") from error


def _query_within(
    connection: psycopg.Connection[tuple[object, ...]], query: bytes, limit_s: float
) -> list[tuple[str, ...]]:
    """The rows of a query, as text. psycopg waits without end for a server that is frozen; this does not."""
    deadline = time.monotonic() + limit_s
    wire = connection.pgconn
    wire.send_query_params(query, None)
    rows: list[tuple[str, ...]] = []
    while True:
        wire.flush()
        while wire.is_busy():
            ready, _, _ = select.select([wire.socket], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise psycopg.OperationalError(f"no answer within {limit_s:g} s")
            wire.consume_input()
        result = wire.get_result()
        if result is None:
            return rows
        if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace").strip())
        for row in range(result.ntuples):
            values = (result.get_value(row, column) or b"" for column in range(result.nfields))
            rows.append(tuple(value.decode() for value in values))
