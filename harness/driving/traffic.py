"""The load of one cell as faults see it: how many calls are in flight, who waits, and the orders that a scenario may
give.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from harness.driving.group import Group


class CellTraffic:
    """Implements ``core.environment.Traffic``. Calls may begin and end on any thread.

    ``behind_pooler``: the backends are a pooler's, so that a re-creation says nothing about them.
    """

    def __init__(self, groups: Sequence[Group], *, behind_pooler: bool = False) -> None:
        self._behind_pooler = behind_pooler
        self._groups = {group.name: group for group in groups}
        self._lock = threading.Lock()
        self._open = 0
        self._paused = False

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
