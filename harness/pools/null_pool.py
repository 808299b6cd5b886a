"""No pooled connections at all: each request connects, works on that one connection, and disconnects.

Nothing can go stale, so there is nothing to heal and nothing to re-create. Two traps are avoided. A null pool behind a
saver connects for every single save: a map-reduce turn of twenty saves then takes seconds, so here the connection
belongs to the request. And psycopg's AsyncNullConnectionPool connects while it holds its own lock: on a silent network,
with one pool for all, six callers with ``timeout=1`` fail after 2, 4, ... 12 s; so each agent has its own, and every
request has a hard deadline. The price is a connect for each request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.pools.deadline import STEP_S, BoundedSaver, call_home, hard_deadline, inside, uninterrupted
from harness.pools.nothing_lost import ClosingConnection

logger = logging.getLogger("poolproof.pools.null_pool")

CLOSE_S = 6.0
#: Also the time that a connect may take: a null pool passes it on as ``connect_timeout``.
POOL_WAIT_S = 6.0


class Lease:
    """A request's connection. It goes back when the request is over and no save that it left behind uses it."""

    def __init__(self, pool: AsyncConnectionPool[Any], connection: AsyncConnection[Any]) -> None:
        self.connection = connection
        self._pool = pool
        self._users = 1

    def take(self) -> None:
        """One user more; raises OperationalError when the request is over, so that no save begins after it."""
        if self._users == 0 or self.connection.closed:
            raise psycopg.OperationalError("the request that this connection belonged to is over")
        self._users += 1

    async def give_back(self) -> None:
        """One user less. Closing under somebody's feet would leave a dead socket in the event loop."""
        self._users -= 1
        if self._users == 0:
            await uninterrupted(partial(self._pool.putconn, self.connection))


#: The lease of the request that the running task works for; LangGraph's background tasks inherit it.
_lease: ContextVar[Lease | None] = ContextVar("poolproof_null_pool_lease", default=None)


class LeaseSaver(BoundedSaver):
    """Works on the request's connection; outside a request it takes one from the pool for each call."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        super().__init__(pool)

    @property
    def conn(self) -> AsyncConnection[Any] | AsyncConnectionPool[Any]:
        """The connection of the request, or the pool."""
        lease = _lease.get()
        return self._pool if lease is None else lease.connection

    @conn.setter
    def conn(self, value: Any) -> None:
        """The base class sets what it was given; the request says what is used."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        lease = _lease.get()
        if lease is not None:
            lease.take()
        try:
            async with super()._cursor(pipeline=pipeline) as cursor:
                yield cursor
        finally:
            if lease is not None:
                await lease.give_back()


class NullPool(PoolStrategy):
    """A null pool for each replica."""

    name = "null_pool"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pools: dict[str, AsyncConnectionPool[Any]] = {}

    async def open(self) -> None:
        """Remember the loop that the pools will live on."""
        self._home = asyncio.get_running_loop()

    async def close(self) -> None:
        """Close every pool, side by side; one that is connecting has the lock until its request gives up."""
        await asyncio.gather(*(hard_deadline(pool.close, CLOSE_S) for pool in self._pools.values()))

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver over the agent's own null pool. ``max_size`` 4: five agents stay within twenty connections."""
        pool = self._pools.get(agent.replica)
        if pool is None:
            pool = self.database.pool(
                pool_class=AsyncNullConnectionPool,
                connection_class=ClosingConnection,
                min_size=0,
                max_size=4,
                timeout=POOL_WAIT_S,
            )
            self._pools[agent.replica] = pool
            await hard_deadline(pool.open, STEP_S, home=self._home)
        return LeaseSaver(pool)

    async def recreate(self) -> None:
        """Connections that are in use now, and would be handed on to a waiter, are not."""
        drains = (hard_deadline(pool.drain, STEP_S) for pool in self._pools.values())
        for failed in await asyncio.gather(*drains, return_exceptions=True):
            if isinstance(failed, BaseException):
                logger.warning("a pool could not be drained: %s: %s", type(failed).__name__, failed)

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer within the deadline, or fail within it."""
        work = partial(self._on_one_connection, self._pools[agent.replica], request)
        try:
            return await hard_deadline(work, inside(request.deadline_s), home=self._home)
        except TimeoutError as error:
            logger.error("thread %s: %s was given up: %s", request.thread_id, request.turn_id, error)
            call_home(self._home, partial(self._rebind, agent))
            raise

    async def _on_one_connection(self, pool: AsyncConnectionPool[Any], request: Request) -> Reply:
        lease = Lease(pool, await pool.getconn())
        _lease.set(lease)  # in the task that hard_deadline made for this request, and in those that it starts
        try:
            # never just sent: the user may be repeating, at another replica, a turn that is stored already
            return await request.finish()
        finally:
            await lease.give_back()

    def _rebind(self, agent: AgentHandle) -> None:
        """A saver with a free lock: saves that a run left behind may hold the old one's for some seconds."""
        agent.checkpointer = LeaseSaver(self._pools[agent.replica])

    def stats(self) -> Mapping[str, int]:
        """The sums over all pools."""
        total: Counter[str] = Counter()
        for pool in self._pools.values():
            total.update(pool.get_stats())
        return total
