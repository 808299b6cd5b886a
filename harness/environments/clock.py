"""The real clock: seconds since a cell began."""

from __future__ import annotations

import asyncio
import time


class RealClock:
    """Monotonic time since construction; the wall clock may jump, this never does."""

    def __init__(self, start_s: float | None = None) -> None:
        """``start_s``: another process' clock began then; both read the machine's monotonic one."""
        self._start = time.monotonic() if start_s is None else start_s

    @property
    def start_s(self) -> float:
        """When it began, by the machine's monotonic clock."""
        return self._start

    def now_s(self) -> float:
        """Seconds since construction. May be called from any thread."""
        return time.monotonic() - self._start

    def since_s(self, monotonic_s: float) -> float:
        """What this clock showed at a time of the machine's monotonic clock, which other processes read as well."""
        return monotonic_s - self._start

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(seconds)
