"""One shared pool that is never closed, and so never leaks PoolClosed: it is healed in place.

psycopg_pool has everything that re-creation is wanted for. ``drain()`` replaces every connection: the idle ones at
once, the borrowed ones when they come back. ``resize()`` makes it connect at once where its reconnects back off. A
check off the hot path finds out when to call them, and so does a request that failed; a check on every checkout would
halve the throughput, and takes 30 s to get past six dead connections.

A request is never just sent, it is finished: a user who got no answer repeats the turn, often at another replica, and
there nobody can know that it is a repetition. ``request.finish()`` looks at what is stored first; sending what is
stored already doubles it in one case of five. The price is one read more for each turn.

Each agent has its own saver over the shared pool: a saver's lock lets one call through at a time, so one saver for all
would make them wait for each other, without any timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from psycopg_pool import PoolTimeout, TooManyRequests

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.pools import nothing_lost
from harness.pools.deadline import STEP_S, BoundedSaver, call_home, hard_deadline, inside
from harness.pools.health import Health, HealthCheck
from harness.pools.nudge import nudge, quietly

logger = logging.getLogger("poolproof.pools.self_healing")

AFTER_FAILURE_S = 0.5
CLOSE_S = 3.0
#: Requests that fail side by side renew the pool once; so do failures that follow each other faster than this.
RENEW_INTERVAL_S = 0.5


class HealedPool:
    """A psycopg pool that is never closed while its owner lives. ``settings`` are the pool's, with min < max size.

    ``generation`` counts the renewals: whoever saw a connection fail says under which generation.
    """

    def __init__(self, database: Database, **settings: Any) -> None:
        self.pool = database.pool(**{**nothing_lost.SETTINGS, **settings})
        self.generation = 0
        self.nudges = 0
        self.health = Health.GOOD
        self._check = HealthCheck(database.conninfo)
        self._renewed_s = float("-inf")

    async def open(self) -> None:
        """Begin to connect. Never waits for it: a pool whose first wait fails closes itself for good."""
        await hard_deadline(self.pool.open, STEP_S)

    async def close(self) -> None:
        """Close for good. Bounded; connections that are still borrowed close when they come back."""
        await hard_deadline(partial(self.pool.close, timeout=CLOSE_S), 2 * CLOSE_S)

    async def heal(self) -> None:
        """Look, and do what is called for. Bounded; does not raise."""
        found = await self._check.look(self.pool)
        if found is Health.UNDER_WAY:
            return
        self.health = found
        if found in (Health.LOST, Health.BACK):
            await self.renew()
        if found in (Health.BACK, Health.STARVED):
            self.nudges += await nudge(self.pool)

    async def renew_after_failure(self, seen: int) -> None:
        """Renew unless somebody already has since generation ``seen``, or did a moment ago. Does not raise."""
        now_s = asyncio.get_running_loop().time()
        if seen == self.generation and now_s - self._renewed_s >= RENEW_INTERVAL_S:
            await self.renew()

    async def renew(self) -> None:
        """Replace every connection. Bounded; does not raise."""
        self.generation += 1
        self._renewed_s = asyncio.get_running_loop().time()
        await quietly("drain", partial(hard_deadline, self.pool.drain, STEP_S))


class SelfHealing(PoolStrategy):
    """A subclass may bring other ``settings`` for the pool, or another ``serve``."""

    name = "self_healing"
    #: ``reconnect_timeout`` keeps the back-off at 2 s or less; after it the next request has the pool connect at once.
    settings: ClassVar[Mapping[str, Any]] = {"min_size": 2, "max_size": 4, "timeout": 6.0, "reconnect_timeout": 4.0}

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.healed = HealedPool(database, **self.settings)

    async def open(self) -> None:
        """Open the pool on this loop; calls from other loops are brought here."""
        self.home = asyncio.get_running_loop()
        await self.healed.open()

    async def close(self) -> None:
        """Close the pool, at the very end."""
        await self.healed.close()

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own."""
        return BoundedSaver(self.healed.pool)

    async def ensure_healthy(self) -> None:
        """Check, and heal."""
        await self.healed.heal()

    async def recreate(self) -> None:
        """There is nothing that re-creation does and draining does not."""
        await self.healed.renew()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer within the deadline, or fail within it; a failure heals the pool for the next caller."""
        seen = self.healed.generation
        try:
            return await hard_deadline(request.finish, inside(request.deadline_s), home=self.home)
        except (psycopg.OperationalError, TimeoutError) as error:
            await self.after_failure(agent, request, error, seen)
            raise

    async def after_failure(self, agent: AgentHandle, request: Request, error: Exception, seen: int) -> None:
        """Do what the next call needs. Bounded; does not raise."""
        if isinstance(error, TimeoutError):
            logger.error("thread %s: %s %s was given up: %s", request.thread_id, request.kind, request.turn_id, error)
            call_home(self.home, partial(self.rebind, agent))
        if not isinstance(error, PoolTimeout | TooManyRequests):  # those say nothing about connections
            await hard_deadline(partial(self.healed.renew_after_failure, seen), AFTER_FAILURE_S, home=self.home)

    def rebind(self, agent: AgentHandle) -> None:
        """A saver with a free lock: saves that a run left behind may hold the old one's for some seconds."""
        agent.checkpointer = BoundedSaver(self.healed.pool)

    def stats(self) -> Mapping[str, int]:
        """The pool's own numbers and ours."""
        return {
            **self.healed.pool.get_stats(),
            "generation": self.healed.generation,
            "nudges": self.healed.nudges,
        }
