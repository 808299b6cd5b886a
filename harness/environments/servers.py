"""What a provisioner (``local``, ``containers``) hands to ``Stack``: running servers, and how to reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.core.environment import Capability, Endpoint
from harness.core.errors import MissingComponent
from harness.environments.components import Component
from harness.environments.databases import Databases
from harness.environments.middle_lever import MiddleLever
from harness.environments.own_server import OwnServer
from harness.environments.pgbouncer_lever import PgBouncerLever
from harness.environments.ports import ReservedPort


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a proxy listens: ``listen`` in Toxiproxy's own words, ``host`` and ``port`` as agents reach it."""

    listen: str
    host: str
    port: int
    reserved: ReservedPort | None = None

    def release(self) -> None:
        """Give the port back, once the proxy is gone."""
        if self.reserved is not None:
            self.reserved.release()


class Pooler(Protocol):
    """A running PgBouncer of one cell."""

    @property
    def upstream(self) -> str:
        """``host:port`` as Toxiproxy reaches it."""
        ...

    @property
    def log(self) -> Path: ...

    def clients(self) -> dict[str, int]:
        """Connections of clients, by application_name. Blocking, bounded. Raises ComponentError."""
        ...

    def alive(self) -> bool: ...

    def reconnect(self) -> None:
        """Leave every server connection as soon as nobody uses it, as when the server's address changed. Blocking."""
        ...

    def revive(self) -> str:
        """Start it again on its port if it died, as a supervisor does; its last words then, else nothing."""
        ...

    def stop(self) -> None:
        """Bounded; idempotent."""
        ...


@runtime_checkable
class GivesOwnServers(Protocol):
    """Servers that can give a cell a Postgres of its own, beside the shared Toxiproxy."""

    def with_own_server(self, needs: frozenset[Capability]) -> AbstractAsyncContextManager[tuple[Servers, OwnServer]]:
        """The same servers, with that Postgres in place of the shared one, and its levers. Main thread only.

        ``needs`` is a part of ``OWN_SERVER``. Raises MissingComponent or ComponentError.
        """
        ...


@runtime_checkable
class GivesMiddle(Protocol):
    """Servers that can put a middle in front of Postgres, or of a pooler."""

    def start_middle(self, cell: str, upstream: str, since_s: Callable[[float], float]) -> MiddleLever:
        """One in front of ``upstream``, for one cell. Main thread only. Raises ComponentError."""
        ...


@runtime_checkable
class GivesPoolerLever(Protocol):
    """Servers whose poolers can be stopped and given orders, and be put behind a proxy of their own."""

    def pooler_lever(
        self, pooler: Pooler, database: str, at_the_console: Callable[[], AbstractContextManager[None]]
    ) -> PgBouncerLever:
        """The levers of a pooler that ``start_pooler`` gave; ``database`` is the cell's. ``at_the_console`` is entered
        around each look at the console.
        """
        ...


class Servers(Protocol):
    """One Postgres and one Toxiproxy, both running. Holds no open connection, so that it survives a fork."""

    @property
    def components(self) -> tuple[Component, ...]: ...

    @property
    def missing(self) -> Mapping[Capability, MissingComponent]:
        """What cannot be offered, and why."""
        ...

    @property
    def admin(self) -> Endpoint:
        """The superuser's way to the database ``postgres``."""
        ...

    @property
    def databases(self) -> Databases:
        """Makes and drops the databases of cells."""
        ...

    @property
    def api(self) -> tuple[str, int]:
        """Toxiproxy's API, as we reach it."""
        ...

    @property
    def upstream(self) -> str:
        """Postgres as Toxiproxy reaches it, ``host:port``."""
        ...

    @property
    def folder(self) -> Path:
        """The run folder: logs, pids, configuration."""
        ...

    @property
    def logs(self) -> Mapping[str, Path]: ...

    def listener(self) -> Listener:
        """A place for one more proxy to listen. Raises ComponentError when there is none left."""
        ...

    def start_pooler(self, mode: str, database: Endpoint, cell: str, settings: Mapping[str, str]) -> Pooler:
        """A PgBouncer for one cell; ``database`` is where it reaches Postgres, as the agents' role. ``settings`` win
        over ours. Main thread only. Raises MissingComponent where it is too old for them, and ComponentError.
        """
        ...

    def collect_logs(self) -> None:
        """Bring the files of ``logs`` up to date, where the servers do not write them themselves."""
        ...

    def dead(self) -> tuple[str, ...]:
        """Names of servers that no longer run."""
        ...

    def stop(self) -> None:
        """Stop all and remove what they left. Bounded; idempotent; the owner's process only."""
        ...
