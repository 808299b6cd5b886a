"""Planted: after the outage one replica's lock is taken for a repair and never released, so its callers wait for ever.

``acquire()``, a repair, an early return. During the outage everything looks as it should, and afterwards nine replicas
of ten still do; whoever looks at averages sees a good recovery.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import ClassVar

import psycopg

from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool


class UnreleasedLock(OnePool):
    """One replica in the whole process hangs, and only once the database is back."""

    name = "unreleased_lock"
    breaks = frozenset({Guarantee.NO_HANG, Guarantee.RECOVERS, Guarantee.AVAILABLE})
    #: The replica to repair, one for all groups of this process.
    damaged: ClassVar[str] = ""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._repaired = False

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """One call at a time on each replica."""
        async with self._locks[agent.replica]:
            try:
                return await request()
            except psycopg.OperationalError:
                UnreleasedLock.damaged = UnreleasedLock.damaged or agent.replica
                raise

    async def ensure_healthy(self) -> None:
        """Repair, and return early."""
        if UnreleasedLock.damaged in self._locks and not self._repaired and await self.answers():
            self._repaired = True
            await self._locks[UnreleasedLock.damaged].acquire()
