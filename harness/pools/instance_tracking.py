"""Instance tracking: the strategy knows every living agent, and a re-creation gives each a new saver over the new pool.

What makes it safe is the order. First the new pool, then the agents, and the old pool last of all: a turn that is under
way keeps the saver that it began with, and comes back to the old pool at each of its saves. So the turns of each
generation are counted, and the old pool is closed when its last turn has ended and nobody uses it. As with a reference:
one re-creation at a time, the generation read before the health check, a minimum interval, never more than two pools;
and when the database is back, all of them are told to connect at once.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from psycopg_pool import PoolTimeout, TooManyRequests

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.pools import nothing_lost
from harness.pools.deadline import STEP_S, BoundedSaver, call_home, hard_deadline, inside
from harness.pools.health import Health, HealthCheck
from harness.pools.nudge import nudge
from harness.pools.retirement import CountedPool, close, retire

logger = logging.getLogger("poolproof.pools.instance_tracking")

AFTER_FAILURE_S = 0.5
#: Re-creations that nobody ordered have at least this pause between them.
RECREATE_INTERVAL_S = 1.0
#: An old pool is closed after this time in any case; turns have deadlines, so it is never reached by them.
RETIRE_S = 60.0


class InstanceTracking(PoolStrategy):
    """One shared pool; agents are rebound."""

    name = "instance_tracking"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pool = self._new_pool()
        self._generation = 0
        self._agents: weakref.WeakValueDictionary[str, AgentHandle] = weakref.WeakValueDictionary()
        self._turns: Counter[int] = Counter()
        self._check = HealthCheck(database.conninfo)
        self._retiring: dict[asyncio.Task[None], CountedPool] = {}
        self._recreating = asyncio.Lock()
        self._recreated_s = float("-inf")

    def _new_pool(self) -> CountedPool:
        settings = {"min_size": 2, "max_size": 4, "timeout": 6.0, "reconnect_timeout": 4.0}
        pool = self.database.pool(pool_class=CountedPool, **nothing_lost.SETTINGS, **settings)
        return cast("CountedPool", pool)

    async def open(self) -> None:
        """Open the first pool on this loop; calls from other loops are brought here."""
        self._home = asyncio.get_running_loop()
        await hard_deadline(self._pool.open, STEP_S)

    async def close(self) -> None:
        """Close whatever lives, side by side."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*(close(pool) for pool in (self._pool, *self._retiring.values())))

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own; from now on the agent is tracked, for as long as somebody else keeps it."""
        self._agents[agent.replica] = agent
        return BoundedSaver(self._pool)

    async def ensure_healthy(self) -> None:
        """Check; re-create only if the database answers and the pool does not."""
        seen = self._generation  # before the check: of checks that fail together one re-creates
        found = await self._check.look(self._pool)
        waited_at = (self._pool, *self._retiring.values())
        if found in (Health.LOST, Health.BACK, Health.STARVED):
            await hard_deadline(partial(self._renew, seen), 2 * STEP_S)
        if found in (Health.BACK, Health.STARVED):
            await asyncio.gather(*(nudge(pool) for pool in waited_at))

    async def recreate(self) -> None:
        """Replace pool, connections and savers, whatever was done a moment ago."""
        await hard_deadline(partial(self._renew, None), 2 * STEP_S)

    async def _renew(self, seen: int | None) -> None:
        """Renew; unless ordered (``seen`` is None) only if nobody has since generation ``seen``, or a moment ago."""
        async with self._recreating:
            now_s = asyncio.get_running_loop().time()
            if seen is not None and (seen != self._generation or now_s - self._recreated_s < RECREATE_INTERVAL_S):
                return
            self._recreated_s = now_s
            if self._retiring:
                await self._pool.drain()
                return
            new = self._new_pool()
            await new.open()
            self._pool, old = new, self._pool
            ended, self._generation = self._generation, self._generation + 1
            for agent in list(self._agents.values()):
                self._rebind(agent)
            task = asyncio.create_task(retire(old, lambda: self._turns[ended] == 0, RETIRE_S))
            self._retiring[task] = old
            task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        del self._retiring[task]

    def _rebind(self, agent: AgentHandle) -> None:
        agent.checkpointer = BoundedSaver(self._pool)

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer within the deadline, or fail within it; a failure renews the pool for the next caller."""
        seen = self._generation
        try:
            return await hard_deadline(partial(self._counted, request), inside(request.deadline_s), home=self._home)
        except (psycopg.OperationalError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                # the health check decides whether the pool is to blame; but the saver's lock may still be held
                logger.error("thread %s: %s was given up: %s", request.thread_id, request.turn_id, error)
                call_home(self._home, partial(self._rebind, agent))
            elif not isinstance(error, PoolTimeout | TooManyRequests):
                await self._after_failure(seen)
            raise

    async def _counted(self, request: Request) -> Reply:
        """Count the turn under the generation that it begins with: its saver does not change under way."""
        generation = self._generation
        self._turns[generation] += 1
        try:
            return await request.finish()  # never just sent: the user may be repeating a turn that is stored
        finally:
            self._turns[generation] -= 1

    async def _after_failure(self, seen: int) -> None:
        try:
            await hard_deadline(partial(self._renew, seen), AFTER_FAILURE_S, home=self._home)
        except (psycopg.Error, TimeoutError) as error:
            logger.warning("could not renew the pool: %s: %s", type(error).__name__, error)

    def stats(self) -> Mapping[str, int]:
        """The present pool's numbers, and how many there have been and are."""
        return {**self._pool.get_stats(), "generation": self._generation, "pools": 1 + len(self._retiring)}
