"""Self-healing that tries again within the request's own deadline: most callers never learn that there was a fault.

Every attempt is a ``request.finish()``, which looks at what is stored and does the rest. Between two attempts the
pool is healed as after any failure, and the agent has a saver with a free lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import psycopg

from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.pools.deadline import hard_deadline, inside
from harness.pools.self_healing import SelfHealing

#: Pauses between attempts grow from the first to the last.
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 0.8
#: What an attempt that gets no answer must leave to the next one; an attempt is not begun with less than half of it.
RESERVE_S = 1.5


class SelfHealingRetry(SelfHealing):
    """Attempts until one succeeds or the deadline is near; then the last error."""

    name = "self_healing_retry"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._retries = 0

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer within the deadline, by as many attempts as fit."""
        return await hard_deadline(partial(self._persist, agent, request), inside(request.deadline_s), home=self.home)

    async def _persist(self, agent: AgentHandle, request: Request) -> Reply:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + inside(request.deadline_s)
        pause_s = FIRST_PAUSE_S
        while True:
            seen = self.healed.generation
            left_s = ends_s - loop.time()
            try:
                return await hard_deadline(request.finish, left_s - RESERVE_S if left_s > 2 * RESERVE_S else left_s)
            except (psycopg.OperationalError, TimeoutError) as error:
                await self.after_failure(agent, request, error, seen)
                if ends_s - loop.time() < pause_s + RESERVE_S / 2:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
            self._retries += 1

    def stats(self) -> Mapping[str, int]:
        """Also how often requests were tried again."""
        return {**super().stats(), "retries": self._retries}
