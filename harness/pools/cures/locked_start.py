"""The pool is opened by whoever needs it first, and a lock makes all others wait for that one."""

from __future__ import annotations

import asyncio

from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.pools.self_healing import SelfHealing


class LockedStart(SelfHealing):
    """Self-healing, begun with the first request."""

    name = "locked_start"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._starting = asyncio.Lock()
        self._started = False

    async def open(self) -> None:
        """Nothing yet, but which loop it is."""
        self.home = asyncio.get_running_loop()

    async def close(self) -> None:
        """Close the one pool that there is."""
        if self._started:
            await super().close()

    async def ensure_healthy(self) -> None:
        """There is nothing to look at before the first request."""
        if self._started:
            await super().ensure_healthy()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Look, take the lock, look again."""
        if not self._started:
            async with self._starting:
                if not self._started:
                    await self.healed.open()
                    self._started = True
        return await super().serve(agent, request)
