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
    SUPERUSER = "superuser"  # the admin endpoint is a superuser's: no limit holds it back
    SERVER_PROCESS = "server_process"  # a Postgres of the cell's own, which may be stopped, killed and re-configured
    SERVER_STANDBY = "server_standby"  # that Postgres with a streaming standby, and a switch before both
    SMALL_DISK = "small_disk"  # that Postgres with its data on a small disk of its own
    PROTOCOL = "protocol"  # a proxy behind Toxiproxy that understands Postgres's messages
    REPLICA_PROCESS = "replica_process"  # each replica group in a process of its own, which may be killed and stopped
    POOLER_PROCESS = "pooler_process"  # the strategy's PgBouncer, which may be stopped and given orders
    POOLER_LINK = "pooler_link"  # a second proxy, between that PgBouncer and Postgres


#: Each of these gives the cell a Postgres of its own (``Environment.server``), which goes with the cell.
OWN_SERVER = frozenset(
    {Capability.SERVER_PROCESS, Capability.SERVER_STANDBY, Capability.SMALL_DISK, Capability.POSTGRES_TLS}
)


#: Each of these is about the strategy's own pooler: a strategy without one cannot run there.
OF_THE_POOLER = frozenset({Capability.POOLER_PROCESS, Capability.POOLER_LINK})


class Shutdown(StrEnum):
    """How a server ends."""

    FAST = "fast"  # sessions are told and ended, then it stops cleanly
    IMMEDIATE = "immediate"  # no clean stop: it recovers when it starts again
    KILL = "kill"  # every process of it at once, as when its machine dies


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """What is to happen to a connection at a moment of the protocol; see ``faults.at_moment`` for the values."""

    name: str
    moment: str
    table: str
    nth: int
    times: int
    action: str
    stall_ms: int


class Middle(Protocol):
    """The proxy between this cell's Toxiproxy and its server that understands what passes.

    All methods raise ComponentError when it does not do what it was told within their bound.
    """

    async def arm(self, strike: Strike) -> Mapping[str, Json]:
        """From now on ``strike`` happens whenever its moment comes; two of one name are refused."""
        ...

    async def disarm(self, name: str) -> Mapping[str, Json]:
        """No more of it, and nothing is held any longer; no error if it is not armed (healing is idempotent).

        If it was: ``struck`` and ``seen``, how many moments it hit and met, and ``hits``, at most 200 of them:
        ``connection`` (its number), ``client`` (the application_name), ``backend_pid``, ``message``, ``time_s``.
        """
        ...

    async def armed(self) -> tuple[str, ...]:
        """Names of the strikes that are armed now."""
        ...


class Server(Protocol):
    """The cell's own Postgres as a process. Every wait is bounded, every change is read back.

    What takes something away has its way back beside it; the ways back are idempotent. All methods raise
    ComponentError when the server does not do what it was told.
    """

    async def stop(self, how: Shutdown) -> Mapping[str, Json]:
        """End it; its port refuses connections from now on."""
        ...

    async def start_held(self) -> Mapping[str, Json]:
        """Start it after a crash and keep it in recovery ("the database system is starting up") until ``start``."""
        ...

    async def start(self) -> None:
        """Have it serve: start it if it does not run, end a recovery that is held."""
        ...

    async def pause(self, *, sessions_only: bool) -> Mapping[str, Json]:
        """Stop all its processes, or just those that serve the agents, where they are (SIGSTOP)."""
        ...

    async def resume(self) -> None:
        """Let what was paused go on."""
        ...

    async def set_parameter(self, name: str, value: str) -> Mapping[str, Json]:
        """For every session but the superuser's, those that live as well (ALTER SYSTEM and a reload)."""
        ...

    async def reset_parameter(self, name: str) -> None: ...

    async def promote(self) -> Mapping[str, Json]:
        """Make the present server read-only, and the standby the primary once it has everything. For good.

        From now on ``Environment.admin`` is the new one. Needs SERVER_STANDBY.
        """
        ...

    async def reroute(self) -> Mapping[str, Json]:
        """Send new connections to the promoted standby; those that stand stay where they are."""
        ...

    async def fill_disk(self) -> Mapping[str, Json]:
        """Leave no room on the disk of the data folder. Needs SMALL_DISK."""
        ...

    async def free_disk(self) -> None: ...


class PgBouncer(Protocol):
    """The cell's own PgBouncer: its process and its admin console. Every wait is bounded, every change read back.

    Orders are about the cell's database alone. ``start`` and ``resume`` are idempotent. All methods raise
    ComponentError when it does not do what it was told.
    """

    async def stop(self) -> Mapping[str, Json]:
        """End the process, with every connection through it; nobody starts it again before ``start``."""
        ...

    async def start(self) -> None:
        """Start it again on its port, with the same configuration, if it was stopped."""
        ...

    async def pause(self) -> Mapping[str, Json]:
        """PAUSE: leave every server connection as soon as nobody uses it; whoever wants one waits until ``resume``."""
        ...

    async def kill(self) -> Mapping[str, Json]:
        """KILL: end every connection of clients and to the server; whoever comes anew waits until ``resume``."""
        ...

    async def resume(self) -> None:
        """RESUME, after either."""
        ...

    async def reconnect(self) -> Mapping[str, Json]:
        """RECONNECT: leave every server connection as soon as nobody uses it, and make new ones."""
        ...

    async def server_pids(self) -> frozenset[int]:
        """The backends that it holds connections to."""
        ...

    async def slots(self) -> tuple[int, int]:
        """How many server connections it gives the agents' pool, and how many of those are in use."""
        ...

    async def queued(self, application_name: str) -> int:
        """How many clients of this name wait for a server connection."""
        ...

    async def resize(self, slots: int) -> Mapping[str, Json]:
        """Give so many from now on; connections above that are left as soon as nobody uses them."""
        ...


class Replicas(Protocol):
    """The replica groups as processes, each under a supervisor, with what brings calls to them.

    A process that ends by itself is started again, as a container's restart policy does; one that is ended here stays
    away until ``start``. Calls that reach a group which takes none go to another one. Every wait is bounded, every
    change is read back: a method returns ``group``, ``pid``, ``signal``, ``in_flight`` (calls that the process had
    then) and what the kernel said. All raise ComponentError when a process does not do what it was told.
    """

    def in_flight(self, group: str) -> int:
        """Calls that this group's process has now."""
        ...

    def takes_calls(self, group: str) -> bool:
        """True if new calls are brought to this group."""
        ...

    async def kill(self, group: str) -> Mapping[str, Json]:
        """SIGKILL. Its calls end at their callers as a connection that was reset. ``status`` as waitpid has it."""
        ...

    async def drain(self, group: str) -> Mapping[str, Json]:
        """SIGTERM: no call any more, those in flight are answered, the strategy is closed. ``status`` likewise."""
        ...

    async def freeze(self, group: str) -> Mapping[str, Json]:
        """SIGSTOP. Its callers wait until their deadline; from a second on new calls go elsewhere. ``state``: T."""
        ...

    async def cut(self, group: str) -> int:
        """Reset the connections of those who wait for this group, as a gateway does; how many they were."""
        ...

    async def thaw(self, group: str) -> None:
        """SIGCONT, if it stands still (healing is idempotent)."""
        ...

    async def start(self, group: str) -> None:
        """Have its process run and take calls; no error if it does already (healing is idempotent)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How calls are cut short that begin from now on, as a web server does when its client goes.

    Of all calls the ``share`` is cut, which ones is drawn from the cell's seed. Such a call is cancelled at its k-th
    await, k from 1 to ``awaits``, small ones as often as large ones; one that has fewer ends by itself. With ``again``
    it is cancelled once more, up to so many awaits later. With ``timeout_ms`` it is ended by ``asyncio.timeout``
    instead, in the task that serves it.
    """

    share: float
    awaits: int = 0
    again: int = 0
    timeout_ms: int = 0


class Client(Protocol):
    """Who calls the agents, and the process that both live in."""

    def cut(self, how: Cut | None) -> None:
        """Cut calls from now on; None: no more, not even those that are under way. Counting begins with a Cut."""
        ...

    def cuts(self) -> Mapping[str, Json]:
        """``begun``: calls that were to be cut; ``cut``: those that were; ``twice``: those cancelled twice."""
        ...

    def stall(self, seconds: float) -> None:
        """Have the event loop stand still, by a call that blocks it; the history knows that it was ordered."""
        ...

    async def set_up(self) -> Mapping[str, Json]:
        """Call ``setup()`` of every replica's saver, side by side, recorded and bounded: ``setups``, ``failed``."""
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

    @property
    def client(self) -> Client:
        """Who calls; MissingComponent where agents live in other processes than those who call them."""
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

    @property
    def server(self) -> Server:
        """The cell's own Postgres; MissingComponent where none of ``OWN_SERVER`` was asked for."""
        ...

    @property
    def middle(self) -> Middle:
        """The proxy that understands the protocol; MissingComponent where ``PROTOCOL`` was not asked for."""
        ...

    @property
    def pgbouncer(self) -> PgBouncer:
        """The strategy's PgBouncer; MissingComponent where ``POOLER_PROCESS`` was not asked for."""
        ...

    @property
    def link(self) -> Proxy:
        """The proxy between PgBouncer and Postgres; MissingComponent where ``POOLER_LINK`` was not asked for."""
        ...

    @property
    def replicas(self) -> Replicas:
        """The groups' processes; MissingComponent where ``REPLICA_PROCESS`` was not asked for."""
        ...


Note = Callable[[str], None]
