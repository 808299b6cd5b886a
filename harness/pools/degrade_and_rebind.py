"""Graceful degradation done right: a structured refusal while the database is away, and agents that recover.

Catching the error is the easy half. The other half is that the next call works: the pool is healed in place and the
agent gets a new saver, so that nothing of the failed call is in its way. A refusal is honest only if it says that the
turn is in doubt: it may have been stored.
"""

from __future__ import annotations

import logging
from functools import partial

import psycopg

from harness.core.pool import AgentHandle, Degraded, Reply, Request
from harness.pools.deadline import call_home
from harness.pools.self_healing import SelfHealing

logger = logging.getLogger("poolproof.pools.degrade_and_rebind")

RETRY_AFTER_S = 1.0


class DegradeAndRebind(SelfHealing):
    """Answers every request; callers see no exception of the database's."""

    name = "degrade_and_rebind"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answered, or Degraded("database_unavailable") within the deadline."""
        try:
            return await super().serve(agent, request)
        except (psycopg.OperationalError, TimeoutError) as error:
            logger.error("thread %s: %s is in doubt: %s", request.thread_id, request.turn_id, type(error).__name__)
            call_home(self.home, partial(self.rebind, agent))
            return Degraded("database_unavailable", RETRY_AFTER_S)
