"""A stack: one Postgres and one Toxiproxy, used by many cells one after the other.

A slot opens it in its main thread and forks a child for each cell; the child enters ``cell`` in a loop of its own. So
a stack holds no thread and no open connection, and only the process that opened it can close it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from harness.core.environment import Capability, Note
from harness.core.errors import MissingComponent, UsageError
from harness.environments.cell import CellEnvironment, cell_environment
from harness.environments.components import Component
from harness.environments.local import POOLERS, start_local
from harness.environments.servers import Servers
from harness.environments.surroundings import without_pg_variables

KINDS = ("auto", "local", "containers")
EVERYTHING = frozenset({Capability.POSTGRES, Capability.TOXIPROXY, *POOLERS})


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
        self.logs: Mapping[str, Path] = dict(servers.logs)
        self.folder: Path = servers.folder
        self.capabilities = frozenset(Capability) - frozenset(self.missing)
        atexit.register(self.close)

    @classmethod
    def open(cls, kind: str = "auto", *, needs: frozenset[Capability] = EVERYTHING, note: Note = _silent) -> Stack:
        """Start the servers: under 1.5 s once everything is in the cache. Main thread only.

        ``kind``: ``local`` (child processes), ``containers`` or ``auto``, which is local. ``note`` hears of slow
        steps. Raises MissingComponent when Postgres or Toxiproxy cannot be had, ComponentError when one does not
        start; a PgBouncer that cannot be had is put into ``missing`` instead.
        """
        if kind not in KINDS:
            raise UsageError(f"environment is {kind!r}; allowed: {', '.join(KINDS)}")
        with without_pg_variables():
            if kind == "containers":
                from harness.environments.containers import start_containers  # costs 0.3 s of imports

                return cls(start_containers(needs, note))
            return cls(start_local(needs, note))

    def dead(self) -> tuple[str, ...]:
        """Names of servers that are no longer alive."""
        return () if self._closed else self._servers.dead()

    def close(self) -> None:
        """Stop everything and remove the run folder. Bounded; idempotent; does nothing in a forked child."""
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._servers.stop()

    @asynccontextmanager
    async def cell(
        self, cell_id: str, *, groups: Sequence[str], pooler: Capability | None = None
    ) -> AsyncIterator[CellEnvironment]:
        """One cell's own database, proxy and, with ``pooler``, PgBouncer; all gone on exit, also when cancelled.

        Raises MissingComponent when the pooler is not to be had.
        """
        if pooler is not None and pooler in self.missing:
            raise self.missing[pooler]
        async with cell_environment(self._servers, cell_id, groups, pooler) as environment:
            yield environment
