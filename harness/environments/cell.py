"""The environment of one cell: its own database, its own proxy and, where asked, its own PgBouncer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import select
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg

from harness.core.environment import Capability, Endpoint, Replicas, Traffic
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.clock import RealClock
from harness.environments.databases import admin_query
from harness.environments.middle_lever import MiddleLever
from harness.environments.own_server import OwnServer
from harness.environments.pgbouncer import POOL_MODES
from harness.environments.pgbouncer_lever import PgBouncerLever
from harness.environments.ports import LOOPBACK
from harness.environments.postgres import ADMIN_NAME, CONNECT_OPTIONS, connect
from harness.environments.routes import Peer, Routes, can_tell, routes, straight_to
from harness.environments.servers import GivesMiddle, GivesPoolerLever, Pooler, Servers
from harness.environments.surroundings import without_pg_variables
from harness.environments.toxiproxy import CellProxy

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

_STEP_LIMIT_S = 30.0
_SAMPLE_LIMIT_S = 2.0


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
        own: OwnServer | None = None,
    ) -> None:
        self.clock = RealClock()
        self.capabilities = capabilities
        self.endpoint = database
        self.proxy: CellProxy
        self.logs: dict[str, Path] = dict(servers.logs)
        self.pooler: Pooler | None = None
        self._servers = servers
        self._own = own
        self._middle: MiddleLever | None = None
        self._replicas: Replicas | None = None
        self._pids: Callable[[], Iterable[int]] = tuple
        self._lever: PgBouncerLever | None = None
        self._link: CellProxy | None = None
        self._dbname = database.dbname
        self._names = {group: f"pp-{name}-{group}" for group in groups}
        self._samplers: dict[int, psycopg.Connection[tuple[object, ...]]] = {}
        self._peers: tuple[Peer, ...] = ()
        self._counts = 0  # beginnings and ends of looks at the pooler's console: odd while one goes on

    @property
    def admin(self) -> Endpoint:
        """Straight to the Postgres that is the primary now."""
        return replace(self._servers.admin, dbname=self._dbname)

    @property
    def server(self) -> OwnServer:
        """The levers of the cell's own Postgres. Raises MissingComponent where it has none."""
        if self._own is None:
            raise MissingComponent(
                "this cell has no Postgres of its own, to stop, kill and re-configure",
                "name Capability.SERVER_PROCESS in the scenario's or the fault's needs",
            )
        return self._own

    @property
    def middle(self) -> MiddleLever:
        """The proxy that understands the protocol. Raises MissingComponent where there is none."""
        if self._middle is None:
            raise MissingComponent(
                "nothing that understands Postgres's messages stands before this cell's server",
                "name Capability.PROTOCOL in the scenario's or the fault's needs",
            )
        return self._middle

    @property
    def pgbouncer(self) -> PgBouncerLever:
        """The levers of the strategy's PgBouncer. Raises MissingComponent where there are none."""
        if self._lever is None:
            raise MissingComponent(
                "this cell has no PgBouncer that could be stopped and given orders",
                "name Capability.POOLER_PROCESS in the scenario's or the fault's needs",
            )
        return self._lever

    @property
    def link(self) -> CellProxy:
        """The proxy between PgBouncer and Postgres. Raises MissingComponent where there is none."""
        if self._link is None:
            raise MissingComponent(
                "no proxy stands between this cell's PgBouncer and Postgres",
                "name Capability.POOLER_LINK in the scenario's or the fault's needs",
            )
        return self._link

    def put_link(self, link: CellProxy) -> None:
        """Say that it stands there."""
        self._link = link

    def put_pooler(self, pooler: Pooler) -> None:
        """Say that agents go through it; it hears of a failover, and obeys where the plan asks for that."""
        self.pooler = pooler
        self.logs["pgbouncer"] = pooler.log
        if self._own is not None:
            self._own.on_reroute = self.reconnect_pooler
        if Capability.POOLER_PROCESS in self.capabilities:
            assert isinstance(self._servers, GivesPoolerLever)
            self._lever = self._servers.pooler_lever(pooler, self._dbname, self._at_the_console)

    def release_pooler(self) -> None:
        """Give it no more orders."""
        if self._lever is not None:
            self._lever.close()

    @property
    def replicas(self) -> Replicas:
        """The groups' processes. Raises MissingComponent where they live in this one."""
        if self._replicas is None:
            raise MissingComponent(
                "this cell's replica groups have no processes of their own, to kill and stop",
                "name Capability.REPLICA_PROCESS in the scenario's or the fault's needs",
            )
        return self._replicas

    def put_replicas(self, replicas: Replicas, pids: Callable[[], Iterable[int]]) -> None:
        """Say that they run, and as which processes now: what those connect to, this cell connects to."""
        self._replicas = replicas
        self._pids = pids

    def put_middle(self, middle: MiddleLever) -> None:
        """Say that it stands there."""
        self._middle = middle
        self.logs["middle"] = middle.log

    def _admins(self) -> tuple[Endpoint, ...]:
        """Every server that may hold connections of this cell: after a failover there are two."""
        return (self._servers.admin,) if self._own is None else self._own.admins()

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
        rows: list[tuple[str, ...]] = []
        try:
            for admin in self._admins():
                sampler = self._samplers.get(admin.port)
                if sampler is None or sampler.closed:
                    with without_pg_variables():
                        sampler = self._samplers[admin.port] = connect(admin)
                rows += _query_within(sampler, _BACKENDS_QUERY % self._dbname.encode(), _SAMPLE_LIMIT_S)
        except (psycopg.Error, OSError) as error:
            self.stop_sampling()
            raise ComponentError(f"Postgres does not tell its backends: {error}") from error
        groups = {name: group for group, name in self._names.items()}
        pids: dict[str, list[int]] = {group: [] for group in self._names}
        peers = []
        for pid, application_name, user, port in rows:
            if application_name in groups:
                pids[groups[application_name]].append(int(pid))
            if user == self.endpoint.user and application_name != ADMIN_NAME and port:
                name = f"backend {pid} of {application_name or 'no application_name'}, client port {port}"
                peers.append(Peer(int(port), groups.get(application_name, ""), name))
        self._peers = tuple(peers)
        return {group: tuple(sorted(found)) for group, found in pids.items()}

    @property
    def tells_routes(self) -> bool:
        """True if :meth:`routes` can be asked: Postgres runs on this machine, and no engine hides who connects."""
        return can_tell() and {self._servers.upstream.rpartition(":")[0], self.admin.host} == {LOOPBACK}

    def routes(self) -> Routes:
        """Which way the connections came that :meth:`backends` saw last, and those to the pooler. Same thread; costs
        5 ms, 10 with a pooler.
        """
        found = routes(self._peers, self.admin.port, self._pids())
        if self.pooler is not None:
            counts = self._counts
            straight = straight_to(int(self.pooler.upstream.rpartition(":")[2]), self._pids())
            if straight and counts == self._counts and not counts % 2:  # a look at its console is such a connection too
                found = found._replace(past=(*found.past, "connections straight to PgBouncer"))
        return found

    @contextlib.contextmanager
    def _at_the_console(self) -> Iterator[None]:
        self._counts += 1
        try:
            yield
        finally:
            self._counts += 1

    def reconnect_pooler(self) -> None:
        """Have the pooler leave the old address, after a failover. Blocking, bounded. Raises ComponentError."""
        if self.pooler is not None:
            with self._at_the_console():
                self.pooler.reconnect()

    def revive(self) -> str:
        """Start a pooler that died again, as a supervisor would; what it said last, or nothing. Main thread only."""
        return self.pooler.revive() if self.pooler is not None else ""

    async def leftovers(self) -> tuple[str, ...]:
        """What still stands that should not, in words: toxics, a closed proxy, backends at work, locks."""
        left = [f"toxic {name}" for name in await self.proxy.toxics()]
        if not await self.proxy.enabled():
            left.append("the proxy is disabled")
        left += [f"{name} is dead" for name in self._servers.dead()]
        if self._link is not None:
            left += [f"toxic {name} between PgBouncer and Postgres" for name in await self._link.toxics()]
        if self.pooler is not None and not self.pooler.alive():
            left.append("PgBouncer is dead")
        elif self._lever is not None and await self._lever.halted():
            left.append("PgBouncer is paused")
        if self._middle is not None:
            left += [f"{name} is armed" for name in await self._middle.armed()]
        activity = await admin_query(self.admin, _LEFTOVER_QUERY)
        return (*left, *(str(row[0]) for row in activity))

    async def leftover_backends(self, groups: Sequence[str]) -> dict[str, int]:
        """Connections that each group still holds: clients of the pooler where there is one, else backends.

        PgBouncer may keep clients in its list that gave up while it was halted. Where the kernel tells that no process
        of the cell has a connection left, nobody holds them.
        """
        if self.pooler is not None:
            with self._at_the_console():
                counts = await asyncio.to_thread(self.pooler.clients)
            if counts and self.tells_routes and not await asyncio.to_thread(self._connections):
                counts = Counter()
        else:
            counts = Counter[str]()
            for admin in self._admins():
                rows = await admin_query(replace(admin, dbname=self._dbname), _COUNT_QUERY)
                counts.update({str(name): int(count) for name, count in rows})
        return {group: counts.get(self._names[group], 0) for group in groups}

    def _connections(self) -> int:
        """How many this process and the groups' own have, to the proxy."""
        return straight_to(self.endpoint.port, self._pids())

    def stop_sampling(self) -> None:
        """Close the sampler's connections; ``backends`` would open others."""
        while self._samplers:
            self._samplers.popitem()[1].close()


#: The name is one of ours: letters, digits and underscores.
_BACKENDS_QUERY = b"""
SELECT pid, application_name, usename, client_port FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = '%s'
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
    servers: Servers,
    cell_id: str,
    groups: Sequence[str],
    pooler: Capability | None,
    settings: Mapping[str, str],
    offered: frozenset[Capability],
    own: OwnServer | None,
) -> AsyncIterator[CellEnvironment]:
    """Make the parts of one cell and take them away again; see ``Stack.cell``."""
    short = secrets.token_hex(3)
    databases = servers.databases
    name = databases.name(short)
    database = databases.agents(name)
    database = replace(database, options={**AGENT_OPTIONS, **database.options})
    capabilities = offered | ({pooler} if pooler else frozenset())
    environment = CellEnvironment(servers, short, groups, database, capabilities, own)
    problems: list[ComponentError] = []
    try:
        with without_pg_variables():
            async with contextlib.AsyncExitStack() as undo:

                def afterwards(step: Callable[[], Awaitable[None]]) -> None:
                    undo.push_async_callback(_to_the_end, step, problems)

                async def put_proxy(which: str, before: str) -> tuple[CellProxy, Endpoint]:
                    listener = servers.listener()
                    undo.callback(listener.release)
                    proxy = CellProxy(servers.api, f"pp-{which}{os.getpid()}-{short}", listener.listen, before)
                    afterwards(proxy.close)
                    await proxy.open()
                    return proxy, replace(database, host=listener.host, port=listener.port)

                # registered before the step itself: a step may have worked although it was cancelled or raised
                afterwards(partial(databases.drop, name))
                await databases.create(name)
                afterwards(partial(asyncio.to_thread, servers.collect_logs))
                undo.callback(environment.stop_sampling)
                upstream = servers.upstream
                if pooler is not None:
                    place = database
                    if Capability.POOLER_LINK in capabilities:
                        link, place = await put_proxy("link-", upstream)
                        environment.put_link(link)
                    started = servers.start_pooler(POOL_MODES[pooler], place, name, settings)
                    afterwards(partial(asyncio.to_thread, started.stop))
                    environment.put_pooler(started)
                    undo.callback(environment.release_pooler)
                    upstream = started.upstream
                if Capability.PROTOCOL in capabilities:
                    assert isinstance(servers, GivesMiddle)
                    middle = servers.start_middle(name, upstream, environment.clock.since_s)
                    afterwards(partial(asyncio.to_thread, middle.stop))
                    environment.put_middle(middle)
                    upstream = middle.upstream
                environment.proxy, environment.endpoint = await put_proxy("", upstream)
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
