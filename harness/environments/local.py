"""The servers as child processes of this one, on loopback."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.environment import Capability, Endpoint, Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.accounts import Account, server_account
from harness.environments.components import Component, find_pgbouncer, find_postgres, find_toxiproxy
from harness.environments.databases import Databases, OwnDatabases
from harness.environments.leases import RunFolder
from harness.environments.middle_lever import MiddleLever, start_middle
from harness.environments.own_server import OwnServer, start_own_server
from harness.environments.pgbouncer import PgBouncer, console_clients, console_reconnect, start_pgbouncer
from harness.environments.pgbouncer_lever import PgBouncerLever
from harness.environments.ports import LOOPBACK, ReservedPort
from harness.environments.postgres import PostgresServer, start_postgres
from harness.environments.reach import within_reach
from harness.environments.servers import Listener, Pooler
from harness.environments.small_disk import no_small_disk
from harness.environments.tls import find_tls_postgres
from harness.environments.toxiproxy_server import ToxiproxyServer, start_toxiproxy

POOLERS = frozenset({Capability.PGBOUNCER_SESSION, Capability.PGBOUNCER_TRANSACTION})


def no_tls() -> MissingComponent:
    """Why POSTGRES_TLS is not offered."""
    return MissingComponent(
        "connections here never use TLS: the default Postgres build has none", "leave out what needs TLS"
    )


@dataclass(frozen=True, slots=True)
class CellDatabases(OwnDatabases):
    """On a server that belongs to one cell and goes with it."""

    server: OwnServer

    def agents(self, name: str) -> Endpoint:
        """Through the switch where there is one, with TLS where the server has it."""
        found = super(CellDatabases, self).agents(name)
        options = {**found.options, "sslmode": "disable" if self.server.tls is None else "require"}
        return replace(found, port=self.server.front_port, options=options)

    async def drop(self, name: str) -> None:
        """Nothing to do; the server may not even run."""


@dataclass(frozen=True, slots=True)
class LocalPooler:
    """A PgBouncer child process."""

    pooler: PgBouncer

    @property
    def upstream(self) -> str:
        return f"{LOOPBACK}:{self.pooler.server.port.number}"

    @property
    def log(self) -> Path:
        return self.pooler.server.child.log

    def clients(self) -> dict[str, int]:
        return console_clients(self.pooler.console)

    def alive(self) -> bool:
        return self.pooler.server.child.alive()

    def reconnect(self) -> None:
        console_reconnect(self.pooler.console)

    def revive(self) -> str:
        return self.pooler.revive()

    def stop(self) -> None:
        self.pooler.stop()


class LocalServers:
    """Implements ``Servers`` with child processes; made by ``start_local``."""

    def __init__(self, run: RunFolder, account: Account, missing: Mapping[Capability, MissingComponent]) -> None:
        self.missing = missing
        self.components: tuple[Component, ...] = ()
        self._run = run
        self._account = account
        self.own: OwnServer | None = None
        self._pgbouncer: Component | None = None
        self._binaries: Component | None = None
        self._postgres: PostgresServer | None = None
        self._toxiproxy: ToxiproxyServer | None = None

    def start(self, postgres: Component, toxiproxy: Component, pgbouncer: Component | None) -> None:
        """Start both servers; each is stopped again by ``stop``, whatever happened here."""
        self.components = tuple(c for c in (postgres, toxiproxy, pgbouncer) if c is not None)
        self._toxiproxy = start_toxiproxy(self._within_reach(toxiproxy), self._run, self._account)
        self._binaries = self._within_reach(postgres)
        self._postgres = start_postgres(self._binaries, self._run, self._account)
        self._pgbouncer = self._within_reach(pgbouncer) if pgbouncer else None

    def _within_reach(self, component: Component) -> Component:
        return within_reach(component, self._run, self._account)

    @asynccontextmanager
    async def with_own_server(self, needs: frozenset[Capability]) -> AsyncIterator[tuple[LocalServers, OwnServer]]:
        """The same servers, with a Postgres of the caller's own in place of the shared one; it is gone on exit."""
        assert self._postgres is not None
        assert self._binaries is not None
        binaries = self._within_reach(find_tls_postgres()) if Capability.POSTGRES_TLS in needs else self._binaries
        name = f"cell_{os.getpid()}_{secrets.token_hex(3)}-server"
        passwords = (self._postgres.admin.password, self._postgres.agent_password)
        own = await start_own_server(name, needs, binaries, self._run, self._account, passwords)
        servers = copy(self)
        servers.own = own
        try:
            yield servers, own
        finally:
            own.close()

    @property
    def admin(self) -> Endpoint:
        assert self._postgres is not None
        return (self.own or self._postgres).admin

    @property
    def databases(self) -> Databases:
        assert self._postgres is not None
        if self.own is not None:
            return CellDatabases(self.admin, self.own.agent_password, self.api, self.own)
        return OwnDatabases(self.admin, self._postgres.agent_password, self.api)

    @property
    def api(self) -> tuple[str, int]:
        assert self._toxiproxy is not None
        return self._toxiproxy.api

    @property
    def upstream(self) -> str:
        return f"{self.admin.host}:{self.admin.port if self.own is None else self.own.front_port}"

    @property
    def folder(self) -> Path:
        return self._run.path

    @property
    def logs(self) -> Mapping[str, Path]:
        running = {"postgres": self.own or self._postgres, "toxiproxy": self._toxiproxy}
        return {name: server.child.log for name, server in running.items() if server is not None}

    def listener(self) -> Listener:
        port = ReservedPort()
        return Listener(f"{LOOPBACK}:{port.number}", LOOPBACK, port.number, port)

    def start_pooler(self, mode: str, database: Endpoint, cell: str, settings: Mapping[str, str]) -> Pooler:
        assert self._pgbouncer is not None
        folder = self._run.path / cell
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        return LocalPooler(
            start_pgbouncer(
                self._pgbouncer,
                mode,
                database,
                self.admin,
                folder,
                self._run,
                self._account,
                tls=None if self.own is None else self.own.tls,
                settings=settings,
            )
        )

    def pooler_lever(
        self, pooler: Pooler, database: str, at_the_console: Callable[[], AbstractContextManager[None]]
    ) -> PgBouncerLever:
        assert isinstance(pooler, LocalPooler)
        return PgBouncerLever(pooler.pooler, database, at_the_console)

    def start_middle(self, cell: str, upstream: str, since_s: Callable[[float], float]) -> MiddleLever:
        return start_middle(cell, upstream, self._run, since_s)

    def collect_logs(self) -> None:
        """Nothing to do: they write their files themselves."""

    def dead(self) -> tuple[str, ...]:
        running = (self.own or self._postgres, self._toxiproxy)
        return tuple(server.child.name for server in running if server is not None and not server.child.alive())

    def stop(self) -> None:
        problems: list[ComponentError] = []
        for server in (self._toxiproxy, self._postgres):
            try:
                if server is not None:
                    server.stop()
            except ComponentError as error:
                problems.append(error)
        self._run.remove()
        if problems:
            raise problems[0]


def start_local(needs: frozenset[Capability], note: Note) -> LocalServers:
    """Find the components and start Postgres and Toxiproxy. Raises MissingComponent or ComponentError."""
    account = server_account()
    postgres = find_postgres()
    toxiproxy = find_toxiproxy(note)
    missing = _missing_for_own_servers()
    pgbouncer = pgbouncer_if_wanted(needs, missing, lambda: find_pgbouncer(note))
    servers = LocalServers(RunFolder.create(), account, missing)
    try:
        servers.start(postgres, toxiproxy, pgbouncer)
    except BaseException:
        servers.stop()
        raise
    return servers


def _missing_for_own_servers() -> dict[Capability, MissingComponent]:
    """What a cell's own Postgres cannot have on this machine."""
    missing: dict[Capability, MissingComponent] = {}
    if os.geteuid() != 0:
        missing[Capability.SMALL_DISK] = no_small_disk("only root may mount one")
    try:
        find_tls_postgres()
    except MissingComponent as error:
        missing[Capability.POSTGRES_TLS] = error
    return missing


def pgbouncer_if_wanted(
    needs: frozenset[Capability], missing: dict[Capability, MissingComponent], find: Callable[[], Component]
) -> Component | None:
    """PgBouncer where it is needed and to be had; else ``missing`` says why it is not offered."""
    reason = MissingComponent("PgBouncer was not asked for when this stack was opened", "name it in needs")
    if needs & POOLERS:
        try:
            return find()
        except MissingComponent as error:
            reason = error
        except ComponentError as error:
            reason = MissingComponent(str(error), "set POOLPROOF_PGBOUNCER to a PgBouncer that runs here")
    missing.update(dict.fromkeys(POOLERS, reason))
    return None
