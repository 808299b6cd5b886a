"""A strategy that is wrong in one way: what failed is sent again as it was, without asking what is stored."""

from __future__ import annotations

import psycopg

from harness import AgentHandle, Reply, Request
from harness.pools.self_healing import SelfHealing

ATTEMPTS = 3


class BlindRetry(SelfHealing):
    """Self-healing with the retry that comes to mind first."""

    name = "blind_retry"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """The last attempt's error is the caller's."""
        for _ in range(ATTEMPTS - 1):
            seen = self.healed.generation
            try:
                return await request()
            except psycopg.OperationalError as error:
                await self.after_failure(agent, request, error, seen)
        return await request()
