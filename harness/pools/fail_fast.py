"""Self-healing that never tries twice: while the database is away callers are refused at once, with an honest error.

A request that meets a dead connection or a silent network closes the door for a second, and the health check keeps it
closed until the database answers. Slowness alone never closes it, nor does a request that is stuck by itself, behind a
lock or in its model, while others are answered. Callers who can wait, or ask elsewhere, learn within milliseconds that
they should.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.pools.health import Health
from harness.pools.self_healing import SelfHealing

#: How long a failure, or a health check that finds the database away, closes the door. Then somebody may try.
CLOSED_S = 1.0

#: The place, in the order in which they began, of the request that the running task serves.
_place: ContextVar[int] = ContextVar("poolproof_fail_fast_place")


class FailFast(SelfHealing):
    """One attempt, and none while the door is closed."""

    name = "fail_fast"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._refused = 0
        self._opens_s = float("-inf")
        self._begun = 0
        self._answered = 0

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Refuse with OperationalError while the database is known to be away, else try once."""
        if asyncio.get_running_loop().time() < self._opens_s:
            self._refused += 1
            raise psycopg.OperationalError(f"the database is away; ask again in {CLOSED_S:g} s")
        self._begun += 1
        place = self._begun
        _place.set(place)
        reply = await super().serve(agent, request)
        self._answered = max(self._answered, place)
        return reply

    async def after_failure(self, agent: AgentHandle, request: Request, error: Exception, seen: int) -> None:
        """Close the door if the failure is news of the database, then heal.

        It is none if somebody who began later was answered: this request was stuck by itself. Nor if the connections
        were renewed since it began. It may come late: a read that fails within a run is told when the run's other
        saves have ended, seconds after the database is back.
        """
        is_news = self._answered < _place.get() and seen == self.healed.generation
        if is_news and not isinstance(error, PoolTimeout | TooManyRequests):
            self._opens_s = asyncio.get_running_loop().time() + CLOSED_S
        await super().after_failure(agent, request, error, seen)

    async def ensure_healthy(self) -> None:
        """Heal; then keep a closed door closed, or open it."""
        await super().ensure_healthy()
        now_s = asyncio.get_running_loop().time()
        if self.healed.health is Health.AWAY:
            if self._opens_s > float("-inf"):
                self._opens_s = now_s + CLOSED_S
        elif self.healed.health is not Health.STARVED:
            self._opens_s = float("-inf")

    def stats(self) -> Mapping[str, int]:
        """Also how many were refused."""
        return {**super().stats(), "refused": self._refused}
