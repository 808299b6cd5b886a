"""How agents get, keep and renew their connections to Postgres: the thing that Poolproof compares.

A strategy is a subclass of :class:`PoolStrategy` with a ``name`` and a ``checkpointer``; everything else has a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import psycopg

from harness.core.environment import Capability
from harness.core.verdict import Guarantee

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from psycopg_pool import AsyncConnectionPool


@dataclass(frozen=True, slots=True)
class Answered:
    """The turn is acknowledged: ``text`` for the user, ``turns`` the ids that the state now holds, in order.

    ``waiting`` holds the ids of interrupts that now wait for a resume.
    """

    text: str
    turns: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Degraded:
    """A structured refusal: an honest answer, but not an acknowledgement, and never a success."""

    code: str
    retry_after_s: float


Reply: TypeAlias = Answered | Degraded


class Database(Protocol):
    """What one replica group is given: where to connect, and how many backends it may hold.

    ``conninfo`` leads through Toxiproxy (and PgBouncer where the strategy asks for it), with the group's own
    application_name and ``connect_timeout=2``. ``budget`` counts old and new pools together.
    """

    @property
    def conninfo(self) -> str: ...

    @property
    def budget(self) -> int: ...

    def pool(
        self, *, pool_class: type[AsyncConnectionPool[Any]] | None = None, **kwargs: Any
    ) -> AsyncConnectionPool[Any]:
        """A pool that is not open yet, with the saver's connection settings (autocommit, dict rows) and
        instrumentation.

        ``kwargs`` go to the pool's constructor over the defaults; its own ``kwargs`` (the connection's) are merged.
        Instrumentation numbers the pool's generation and records who opened and closed it, from where. A strategy may
        build pools without it and then loses provenance only.
        """
        ...


class AgentHandle(Protocol):
    """One living replica of an agent. Assigning ``checkpointer`` rebinds its graph: what instance tracking does.

    The harness wraps every saver in a recording one (an instance of the same class to ``isinstance``); reading gives
    the wrapped one.
    """

    @property
    def name(self) -> str:
        """The agent's name."""
        ...

    @property
    def replica(self) -> str:
        """``group/agent``: unique in the cell."""
        ...

    @property
    def checkpointer(self) -> BaseCheckpointSaver[Any]: ...

    @checkpointer.setter
    def checkpointer(self, saver: BaseCheckpointSaver[Any]) -> None: ...


class Request(Protocol):
    """One call of a user. One attempt at a time: starting another first cancels the one before and waits until it is
    dead.

    The strategy must answer within ``deadline_s``; the harness never cancels before ``deadline_s`` + 12 s.
    """

    @property
    def kind(self) -> str:
        """turn, restore, resume, fork or delete."""
        ...

    @property
    def thread_id(self) -> str: ...

    @property
    def turn_id(self) -> str: ...

    @property
    def deadline_s(self) -> float:
        """Seconds from the call's beginning within which ``serve`` must answer."""
        ...

    async def __call__(self) -> Reply:
        """Perform the request on the agent's graph as it stands."""
        ...

    async def stored(self) -> tuple[str, ...]:
        """The turn ids that are really stored (channel values, not pending writes). May fail, like any call."""
        ...

    async def finish(self) -> Reply:
        """Bring this request to its end whatever an earlier attempt left behind, exactly once in the state."""
        ...


class PoolStrategy(ABC):
    """How agents get, keep and renew their connections to Postgres."""

    name: ClassVar[str]
    #: What it needs of the environment, e.g. ``{Capability.PGBOUNCER_TRANSACTION}``.
    needs: ClassVar[frozenset[Capability]] = frozenset()
    #: A control says what it must be caught breaking; a candidate breaks nothing.
    breaks: ClassVar[frozenset[Guarantee]] = frozenset()
    #: What callers may see while the database is away; never PoolClosed. Exception and psycopg.Error are refused.
    errors: ClassVar[tuple[type[BaseException], ...]] = (psycopg.OperationalError, TimeoutError)
    #: Settings of its PgBouncer that differ from those in ``environments.pgbouncer``, where it asks for one.
    pooler: ClassVar[Mapping[str, str]] = {}

    def __init__(self, database: Database) -> None:
        self.database = database

    async def open(self) -> None:  # noqa: B027 - optional
        """Called once before the first agent starts, on the loop that the strategy will live on."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Called once at the end; afterwards no backend may be left."""

    @abstractmethod
    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """The saver for ``agent``; called when the agent starts."""

    async def ensure_healthy(self) -> None:  # noqa: B027 - optional
        """The post's ``_ensure_pool_health``. The runner calls it every 0.5 s, never two at once, perhaps during
        ``recreate``.
        """

    async def recreate(self) -> None:  # noqa: B027 - optional
        """The post's ``_recreate_pool``. Scenarios order it; re-entrant. Afterwards no backend from before serves a
        new turn.
        """

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer one request: retry or degrade here. The default adds nothing."""
        return await request()

    def stats(self) -> Mapping[str, int]:
        """Numbers to be sampled into the history."""
        return {}
