"""The load of one cell as faults see it: how many calls are in flight, who waits, and the orders that a scenario may
give.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.core.errors import MissingComponent
from harness.core.verdict import Json
from harness.core.workload import Action
from harness.driving.client import CellClient, Visit


class Ordered(Protocol):
    """A replica group, here or in a process of its own, as far as orders and queues go."""

    @property
    def name(self) -> str: ...

    def waiters(self) -> int: ...

    def saver_waiters(self) -> int: ...

    async def order_recreate(self, value: Mapping[str, Json]) -> None: ...

    async def order_health_check(self) -> None: ...


class CellTraffic:
    """Implements ``core.environment.Traffic``. Calls may begin and end on any thread.

    ``behind_pooler``: the backends are a pooler's, so that a re-creation says nothing about them.
    """

    def __init__(self, groups: Sequence[Ordered], *, behind_pooler: bool = False) -> None:
        self._behind_pooler = behind_pooler
        self._groups = {group.name: group for group in groups}
        self._lock = threading.Lock()
        self._open = 0
        self._paused = False
        self._client: CellClient | None = None

    @property
    def client(self) -> CellClient:
        """See ``core.environment.Traffic``."""
        if self._client is None:
            raise MissingComponent("those who call live in another process than the agents", "run them in one process")
        return self._client

    def called_by(self, client: CellClient) -> None:
        """Say who calls."""
        self._client = client

    def visit(self, user: str, action: Action) -> Visit | None:
        """What the scenario has in mind for this call; None if it is let alone."""
        return None if self._client is None else self._client.visit(user, action)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the replica groups."""
        return tuple(self._groups)

    @property
    def paused(self) -> bool:
        """True while users hold back before their next call."""
        return self._paused

    def began(self) -> None:
        """A user's call began."""
        with self._lock:
            self._open += 1

    def ended(self) -> None:
        """A user's call ended."""
        with self._lock:
            self._open -= 1

    def in_flight(self) -> int:
        """Calls that users wait for now."""
        return self._open

    def waiters(self, group: str) -> int:
        """See ``core.environment.Traffic``."""
        return self._groups[group].waiters()

    def saver_waiters(self, group: str) -> int:
        """See ``core.environment.Traffic``."""
        return self._groups[group].saver_waiters()

    async def recreate(self, group: str) -> None:
        """Order a re-creation; the row says under which load it began."""
        await self._groups[group].order_recreate(
            {
                "in_flight": self.in_flight(),
                "waiters": self.waiters(group),
                "saver_waiters": self.saver_waiters(group),
                "behind_pooler": self._behind_pooler,
            }
        )

    async def ensure_healthy(self, group: str) -> None:
        """Order one more health check, side by side with the timer's."""
        await self._groups[group].order_health_check()

    def pause(self, paused: bool) -> None:
        """Hold users back before their next call."""
        self._paused = paused
