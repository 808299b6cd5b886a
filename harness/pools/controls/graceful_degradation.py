"""Control: option 1 alone. The same re-creation, with PoolClosed caught and turned into a structured error.

Callers see no PoolClosed, and no answer either: the savers stay on the closed pool, so the agents never recover.
"""

from __future__ import annotations

from psycopg_pool import PoolClosed

from harness.core.pool import AgentHandle, Degraded, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.naive_recreate import NaiveRecreate

RETRY_AFTER_S = 1.0


class GracefulDegradation(NaiveRecreate):
    """Only ``serve`` differs."""

    name = "graceful_degradation"
    breaks = frozenset({Guarantee.RECOVERS, Guarantee.AVAILABLE, Guarantee.NO_SILENT_FAILURE})

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answered, or a polite refusal that promises what will not happen."""
        try:
            return await request()
        except PoolClosed:
            return Degraded("database_unavailable", RETRY_AFTER_S)
