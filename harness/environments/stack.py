"""A stack: one Postgres and one Toxiproxy, used by many cells one after the other.

A slot opens it in its main thread and forks a child for each cell; the child enters ``cell`` in a loop of its own. So
a stack holds no thread and no open connection, and only the process that opened it can close it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from harness.core.environment import OF_THE_POOLER, OWN_SERVER, Capability, Note
from harness.core.errors import ComponentError, MissingComponent, UsageError
from harness.environments.cell import CellEnvironment, cell_environment
from harness.environments.components import Component
from harness.environments.limits import enough_files
from harness.environments.local import POOLERS, start_local
from harness.environments.postgres import connect
from harness.environments.servers import GivesMiddle, GivesOwnServers, GivesPoolerLever, Servers
from harness.environments.surroundings import without_pg_variables
from harness.environments.target import start_target
from harness.environments.target_dsn import Target
from harness.environments.toxiproxy import ToxiproxyClient

KINDS = ("auto", "local", "containers")
EVERYTHING = frozenset({Capability.POSTGRES, Capability.TOXIPROXY, *POOLERS})

_NO_OWN_SERVER = MissingComponent(
    "this environment gives a cell no Postgres of its own, to stop, kill and re-configure",
    "use --environment local for these cells",
)

_NO_MIDDLE = MissingComponent(
    "this environment puts nothing that understands Postgres's messages before the server",
    "use --environment local for these cells",
)

_NO_POOLER_LEVER = MissingComponent(
    "this environment does not stop a cell's PgBouncer, gives it no orders and puts no proxy behind it",
    "use --environment local for these cells",
)

_NO_POOLER = MissingComponent(
    "this strategy has no pooler, and the plan damages one",
    "name a strategy that needs PGBOUNCER_SESSION or PGBOUNCER_TRANSACTION: pgbouncer_session, pgbouncer_transaction",
)


def _silent(_: str) -> None:
    """The default note: nobody listens."""


class Stack:
    """See the module. ``components`` are what was chosen, ``missing`` says why a capability is not offered."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._owner = os.getpid()
        self._closed = False
        self.components: tuple[Component, ...] = servers.components
        self.missing: Mapping[Capability, MissingComponent] = dict(servers.missing)
        if not isinstance(servers, GivesOwnServers):
            self.missing = {**self.missing, **dict.fromkeys(OWN_SERVER, _NO_OWN_SERVER)}
        if not isinstance(servers, GivesMiddle):
            self.missing = {**self.missing, Capability.PROTOCOL: _NO_MIDDLE}
        if not isinstance(servers, GivesPoolerLever):
            self.missing = {**self.missing, **dict.fromkeys(OF_THE_POOLER, _NO_POOLER_LEVER)}
        elif set(self.missing) >= POOLERS:
            reason = self.missing[Capability.PGBOUNCER_SESSION]
            self.missing = {**self.missing, **dict.fromkeys(OF_THE_POOLER, reason)}
        self.logs: Mapping[str, Path] = dict(servers.logs)
        self.folder: Path = servers.folder
        self.capabilities = frozenset(Capability) - frozenset(self.missing)
        atexit.register(self.close)

    @classmethod
    def open(
        cls,
        kind: str = "auto",
        *,
        needs: frozenset[Capability] = EVERYTHING,
        note: Note = _silent,
        target: Target | None = None,
    ) -> Stack:
        """Start the servers: under 1.5 s once everything is in the cache. Main thread only.

        ``kind``: ``local`` (child processes), ``containers`` or ``auto``, which is local; with ``target`` the
        Postgres is the user's own, whatever the kind. ``note`` hears of slow steps. Raises MissingComponent when
        Postgres or Toxiproxy cannot be had, ComponentError when one does not start or a guard refuses the target; a
        PgBouncer that cannot be had is put into ``missing`` instead.
        """
        if target is None and kind not in KINDS:
            raise UsageError(f"environment is {kind!r}; allowed: {', '.join(KINDS)}")
        enough_files()
        with without_pg_variables():
            if target is not None:
                return cls(start_target(target, needs, note))
            if kind == "containers":
                from harness.environments.containers import start_containers  # costs 0.3 s of imports

                return cls(start_containers(needs, note))
            return cls(start_local(needs, note))

    def dead(self) -> tuple[str, ...]:
        """Names of servers that are no longer alive."""
        return () if self._closed else self._servers.dead()

    def trouble(self) -> str:
        """What is wrong with the servers, in words, or nothing: dead, or silent when asked. Within some 6 s."""
        dead = self.dead()
        if dead or self._closed:
            return f"{' and '.join(dead)} died" if dead else ""
        try:
            with contextlib.closing(ToxiproxyClient(*self._servers.api)) as client:
                client.version()
            with without_pg_variables():
                connect(self._servers.admin).close()
        except ComponentError as error:
            return str(error)
        except psycopg.Error as error:
            return f"Postgres does not answer: {error}"
        return ""

    def close(self) -> None:
        """Stop everything and remove the run folder. Bounded; idempotent; does nothing in a forked child."""
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._servers.stop()

    @asynccontextmanager
    async def cell(
        self,
        cell_id: str,
        *,
        groups: Sequence[str],
        pooler: Capability | None = None,
        settings: Mapping[str, str] | None = None,
        needs: frozenset[Capability] = frozenset(),
    ) -> AsyncIterator[CellEnvironment]:
        """One cell's own database, proxy and, with ``pooler``, PgBouncer; all gone on exit, also when cancelled.

        With any of ``OWN_SERVER`` in ``needs`` its Postgres is its own as well, with ``PROTOCOL`` a middle stands
        between the proxy and what is behind it, with ``POOLER_LINK`` a second proxy behind the pooler, whose
        ``settings`` win over ours. Raises MissingComponent when the pooler, or anything else that it needs, is not to
        be had.
        """
        for need in sorted(needs | ({pooler} if pooler is not None else frozenset())):
            if need in self.missing:
                raise self.missing[need]
        if needs & OF_THE_POOLER and pooler is None:
            raise _NO_POOLER
        async with contextlib.AsyncExitStack() as scope:
            servers, own = self._servers, None
            if needs & OWN_SERVER:
                assert isinstance(servers, GivesOwnServers)
                with without_pg_variables():
                    servers, own = await scope.enter_async_context(servers.with_own_server(needs & OWN_SERVER))
            offered = frozenset({Capability.POSTGRES, Capability.TOXIPROXY})
            offered |= needs & (OWN_SERVER | OF_THE_POOLER | {Capability.PROTOCOL, Capability.REPLICA_PROCESS})
            cell = cell_environment(servers, cell_id, groups, pooler, settings or {}, offered, own)
            yield await scope.enter_async_context(cell)
