"""A strategy with one lock for each replica, which it gives back when a request ends or fails, but not when it is
cancelled: ``except Exception`` does not see a cancellation.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import psycopg

from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.pools.self_healing import SelfHealing

#: Much shorter than a deadline, so that who waits in vain says so and does not hang; long enough for some turns.
WAIT_S = 4.0


class LockKept(SelfHealing):
    """Sound, as long as nobody goes away."""

    name = "lock_kept"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """One request at a time on each replica."""
        lock = self._locks[agent.replica]
        try:
            await asyncio.wait_for(lock.acquire(), WAIT_S)
        except TimeoutError as error:
            raise psycopg.OperationalError("this replica is busy") from error
        try:
            reply = await super().serve(agent, request)
        except Exception:
            lock.release()
            raise
        lock.release()
        return reply
