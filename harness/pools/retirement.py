"""When may an old pool be closed? When nobody waits at it, nobody has borrowed from it, and nobody can come back to it.

Closing a psycopg pool leaves borrowed connections alone, but everybody who waits gets PoolClosed at that moment, and
everybody who comes later gets it at once. So a re-creation publishes the new pool first, and lets the old one go late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from harness.pools.deadline import hard_deadline

logger = logging.getLogger("poolproof.pools.retirement")

_POLL_S = 0.05
#: Waiting for connects that are under way is part of closing; ``connect_timeout`` is 2 s.
CLOSE_S = 3.0


class CountedPool(AsyncConnectionPool[AsyncConnection[Any]]):
    """A pool that knows its users: those who wait for a connection and those who have one.

    The pool's own numbers do not tell a connection that is borrowed from one that is being made.
    """

    users = 0

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]:
        """Counts from the first moment: the saver reads its pool and comes here without a pause in between."""
        self.users += 1
        try:
            return await super().getconn(timeout)
        except BaseException:
            self.users -= 1
            raise

    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        """Counts until the connection is really back."""
        try:
            await super().putconn(conn)
        finally:
            self.users -= 1


async def retire(pool: CountedPool, unreachable: Callable[[], bool], bound_s: float) -> None:
    """Close ``pool`` when it has no user and ``unreachable()`` says that none can come, but after ``bound_s`` anyway.

    Both must hold twice in a row: between two saves of one run there is a moment without a user. Does not raise.
    """
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + bound_s
    quiet = 0
    while quiet < 2 and loop.time() < ends_s:
        quiet = quiet + 1 if pool.users == 0 and unreachable() else 0
        await asyncio.sleep(_POLL_S)
    await close(pool)


async def close(pool: AsyncConnectionPool[Any]) -> None:
    """Close, bounded; does not raise."""
    try:
        await hard_deadline(partial(pool.close, timeout=CLOSE_S), 2 * CLOSE_S)
    except (psycopg.Error, TimeoutError) as error:
        logger.warning("%s did not close well: %s: %s", pool.name, type(error).__name__, error)
