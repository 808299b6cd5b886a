"""PoolReference: savers reach the pool by a reference, so that a re-creation moves all of them at once.

What makes it safe: the new pool is published first and the old one closed last, when nobody waits at it and nobody has
borrowed from it; one re-creation at a time; the generation is read before the health check, so that checks that failed
together re-create once; two re-creations have a minimum interval; and there are never more than two pools. Where a
third would be needed the present one is drained instead. When the database is back, all are told to connect at once.

The reference has to be a property of a saver's subclass: the saver tests the type of its ``conn`` at every query, which
a wrapper object around the pool does not pass.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.pools import nothing_lost
from harness.pools.deadline import STEP_S, BoundedSaver, call_home, hard_deadline, inside
from harness.pools.health import Health, HealthCheck
from harness.pools.nudge import nudge
from harness.pools.retirement import CountedPool, close, retire

logger = logging.getLogger("poolproof.pools.shared_swap")

AFTER_FAILURE_S = 0.5
#: Re-creations that nobody ordered have at least this pause between them.
SWAP_INTERVAL_S = 1.0
POOL_WAIT_S = 6.0
#: After it nobody can wait at the old pool any more, nor have borrowed from it: each wait and each call is bounded.
RETIRE_S = POOL_WAIT_S + BoundedSaver.call_s + 2.0


class PoolReference:
    """The pool of the moment."""

    def __init__(self, pool: CountedPool) -> None:
        self.pool = pool
        self.generation = 0

    def publish(self, pool: CountedPool) -> CountedPool:
        """From here on every call goes to ``pool``; returns the one before."""
        self.pool, old = pool, self.pool
        self.generation += 1
        return old


class ReferenceSaver(BoundedSaver):
    """A saver that looks up its pool at every call."""

    def __init__(self, reference: PoolReference) -> None:
        self._reference = reference
        super().__init__(reference.pool)

    @property
    def conn(self) -> AsyncConnectionPool[Any]:
        """The pool of the moment."""
        return self._reference.pool

    @conn.setter
    def conn(self, value: Any) -> None:
        """The base class sets what it was given; the reference says what is used."""


class SharedSwap(PoolStrategy):
    """One shared pool by reference."""

    name = "shared_swap"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._reference = PoolReference(self._new_pool())
        self._check = HealthCheck(database.conninfo)
        self._retiring: dict[asyncio.Task[None], CountedPool] = {}
        self._swapping = asyncio.Lock()
        self._swapped_s = float("-inf")

    def _new_pool(self) -> CountedPool:
        settings = {"min_size": 2, "max_size": 4, "timeout": POOL_WAIT_S, "reconnect_timeout": 4.0}
        pool = self.database.pool(pool_class=CountedPool, **nothing_lost.SETTINGS, **settings)
        return cast("CountedPool", pool)

    async def open(self) -> None:
        """Open the first pool on this loop; calls from other loops are brought here."""
        self._home = asyncio.get_running_loop()
        await hard_deadline(self._reference.pool.open, STEP_S)

    async def close(self) -> None:
        """Close whatever lives, side by side."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*(close(pool) for pool in (self._reference.pool, *self._retiring.values())))

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own, over the one reference."""
        return ReferenceSaver(self._reference)

    async def ensure_healthy(self) -> None:
        """Check; re-create only if the database answers and the pool does not."""
        seen = self._reference.generation  # before the check: of checks that fail together one re-creates
        found = await self._check.look(self._reference.pool)
        waited_at = (self._reference.pool, *self._retiring.values())
        if found in (Health.LOST, Health.BACK, Health.STARVED):
            await hard_deadline(partial(self._renew, seen), 2 * STEP_S)
        if found in (Health.BACK, Health.STARVED):
            await asyncio.gather(*(nudge(pool) for pool in waited_at))

    async def recreate(self) -> None:
        """Replace pool and connections, whatever was done a moment ago."""
        await hard_deadline(partial(self._renew, None), 2 * STEP_S)

    async def _renew(self, seen: int | None) -> None:
        """Renew; unless ordered (``seen`` is None) only if nobody has since generation ``seen``, or a moment ago."""
        async with self._swapping:
            now_s = asyncio.get_running_loop().time()
            if seen is not None and (seen != self._reference.generation or now_s - self._swapped_s < SWAP_INTERVAL_S):
                return
            self._swapped_s = now_s
            if self._retiring:
                await self._reference.pool.drain()
                return
            new = self._new_pool()
            await new.open()
            old = self._reference.publish(new)
            # the saver looks up its pool and asks it without a pause in between: who is not counted cannot come
            task = asyncio.create_task(retire(old, lambda: True, RETIRE_S))
            self._retiring[task] = old
            task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        del self._retiring[task]

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer within the deadline, or fail within it; a failure renews the pool for the next caller.

        Finished, never just sent: the user may be repeating, at another replica, a turn that is stored already.
        """
        seen = self._reference.generation
        try:
            return await hard_deadline(request.finish, inside(request.deadline_s), home=self._home)
        except (psycopg.OperationalError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                # the health check decides whether the pool is to blame; but the saver's lock may still be held
                logger.error("thread %s: %s was given up: %s", request.thread_id, request.turn_id, error)
                call_home(self._home, partial(self._rebind, agent))
            elif not isinstance(error, PoolTimeout | TooManyRequests):
                await self._after_failure(seen)
            raise

    async def _after_failure(self, seen: int) -> None:
        try:
            await hard_deadline(partial(self._renew, seen), AFTER_FAILURE_S, home=self._home)
        except (psycopg.Error, TimeoutError) as error:
            logger.warning("could not renew the pool: %s: %s", type(error).__name__, error)

    def _rebind(self, agent: AgentHandle) -> None:
        """A saver with a free lock: saves that a run left behind may hold the old one's for some seconds."""
        agent.checkpointer = ReferenceSaver(self._reference)

    def stats(self) -> Mapping[str, int]:
        """The present pool's numbers, and how many there have been and are."""
        return {
            **self._reference.pool.get_stats(),
            "generation": self._reference.generation,
            "pools": 1 + len(self._retiring),
        }
