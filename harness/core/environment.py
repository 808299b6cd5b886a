"""Where a cell happens: the protocols that real components (and, later, simulated ones) implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from harness.core.verdict import Json


class Capability(StrEnum):
    """What an environment can offer; strategies and faults say which of them they need."""

    POSTGRES = "postgres"
    TOXIPROXY = "toxiproxy"
    PGBOUNCER_SESSION = "pgbouncer_session"
    PGBOUNCER_TRANSACTION = "pgbouncer_transaction"
    POSTGRES_TLS = "postgres_tls"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place to connect to. ``password`` is kept out of ``repr``; ``conninfo`` has it in clear."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    def conninfo(self, **extra: str) -> str:
        """A libpq connection string; ``extra`` keywords are added (``application_name`` ...)."""
        values = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.dbname,
            "user": self.user,
            "password": self.password,
            **self.options,
            **extra,
        }
        return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class Clock(Protocol):
    """Time since the cell began. Real or virtual; nothing above ``environments`` reads another clock."""

    def now_s(self) -> float:
        """Seconds since the cell began; never goes back. May be called from any thread."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """One toxic of Toxiproxy, as its HTTP API has it. Toxicity is always 1.0: the server's seed does nothing."""

    name: str
    type: str
    stream: str  # "upstream" (requests) or "downstream" (answers)
    attributes: Mapping[str, int]


class Proxy(Protocol):
    """The proxy between this cell's agents and its database. Each change is confirmed by reading it back.

    All methods raise ComponentError when the proxy does not do what it was told within their bound.
    """

    async def add_toxic(self, toxic: Toxic) -> Mapping[str, Json]:
        """Install ``toxic`` and return what the server says of it."""
        ...

    async def remove_toxic(self, name: str) -> None:
        """Remove it; no error if it is not there (healing is idempotent)."""
        ...

    async def toxics(self) -> tuple[str, ...]:
        """Names of the toxics that stand now."""
        ...

    async def set_enabled(self, enabled: bool) -> Mapping[str, Json]:
        """Open or close the proxy's port; closing cuts every connection, idle ones too."""
        ...

    async def reset(self) -> None:
        """Remove every toxic and enable the proxy."""
        ...


class Traffic(Protocol):
    """The runner's view of the cell's own load, for faults that must strike at a chosen state."""

    def in_flight(self) -> int:
        """Calls that users are waiting for now."""
        ...

    def waiters(self, group: str) -> int:
        """Requests for a connection that the group's instrumented pools have not served yet."""
        ...

    def saver_waiters(self, group: str) -> int:
        """Saver calls queued behind another call of the same saver (its lock serialises)."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the replica groups."""
        ...

    async def recreate(self, group: str) -> None:
        """Call the strategy's ``recreate`` of ``group``; recorded as an operation, errors included; bounded."""
        ...

    async def ensure_healthy(self, group: str) -> None:
        """Call the strategy's ``ensure_healthy`` of ``group``; recorded likewise; bounded."""
        ...

    def pause(self, paused: bool) -> None:
        """Hold users back before their next call (calls under way go on)."""
        ...


class Environment(Protocol):
    """What faults see: the endpoints, the clock and the levers of one cell."""

    @property
    def endpoint(self) -> Endpoint:
        """What agents see: through proxy and pooler."""
        ...

    @property
    def admin(self) -> Endpoint:
        """Straight to Postgres, never faulted: for faults and the final reads."""
        ...

    @property
    def clock(self) -> Clock: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def proxy(self) -> Proxy: ...

    @property
    def traffic(self) -> Traffic: ...


Note = Callable[[str], None]
