"""Is the database there, and is the pool's trouble its own? A health check that ends, and that does no damage.

A check that only asks the pool cannot tell a database that is away from a pool that is busy, or whose reconnects back
off: psycopg_pool waits 1, 2, 4, 8 ... s between its attempts, also while the database has long been back. And a
strategy that acts on each failed check does damage by itself: PoolTimeout and PoolClosed are OperationalError too. So
the pool is asked first, and when it does not answer, the database is asked over a connection of its own. Every reaction
of a strategy is to an answer that came within two seconds: what it builds then can be built. A server that takes no
writes has not answered: after a failover it is the old primary, and nothing that is built there is of use.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from harness.pools.deadline import HardTimeout, hard_deadline
from harness.pools.nothing_lost import ClosingConnection
from harness.pools.writable import check_asked

#: How long the pool may take to hand out a connection for a check, and how long that connection to answer.
POOL_WAIT_S = 1.0
ANSWER_S = 1.5
#: How long a connection of the check's own may take, from connecting (five answers with SCRAM) to the query's answer.
PROBE_S = 2.0


class Health(Enum):
    """What a check found."""

    GOOD = "a pooled connection answered"
    LOST = "the database answers, but a pooled connection did not"
    BACK = "the database answers again"
    STARVED = "the database answers, but the pool has no connection: its attempts to connect failed and now back off"
    BUSY = "the database answers, but every pooled connection is in use"
    AWAY = "the database does not answer"
    UNDER_WAY = "another check is under way"


class HealthCheck:
    """The check, and what it remembers from one time to the next. ``conninfo`` is for connections of its own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._looking = False
        self._away = False
        self._failed_connects = 0

    async def look(self, pool: AsyncConnectionPool[Any]) -> Health:
        """Look after ``pool``; of callers side by side one looks. Ends within 8 s; does not raise."""
        if self._looking:
            return Health.UNDER_WAY
        self._looking = True
        try:
            return await self._look(pool)
        finally:
            self._looking = False

    async def _look(self, pool: AsyncConnectionPool[Any]) -> Health:
        if self._away:
            # a pooled connection would only be spoilt by a check that is cut off
            self._away = not await reachable(self._conninfo)
            return Health.AWAY if self._away else Health.BACK
        lost = await _lost(pool)
        failed_before, self._failed_connects = self._failed_connects, failed_connects(pool)
        if lost is None:
            return Health.GOOD
        if not await reachable(self._conninfo):
            self._away = True
            return Health.AWAY
        if lost:
            return Health.LOST
        return Health.STARVED if failed_connects(pool) > failed_before else Health.BUSY


def failed_connects(pool: AsyncConnectionPool[Any]) -> int:
    """How many attempts to connect have failed since the pool was made."""
    return pool.get_stats().get("connections_errors", 0)


async def reachable(conninfo: str, seconds: float = PROBE_S) -> bool:
    """True if a database that takes writes answers over a new connection within ``seconds``."""
    try:
        await hard_deadline(partial(_ask_directly, conninfo), seconds)
    except (psycopg.Error, TimeoutError, OSError):
        return False
    return True


async def _lost(pool: AsyncConnectionPool[Any]) -> bool | None:
    """None if a pooled connection answered, True if it did not, False if the pool gave none."""
    try:
        await hard_deadline(partial(_ask, pool), POOL_WAIT_S + ANSWER_S + 0.5)
    except (PoolTimeout, TooManyRequests):
        return False
    except (psycopg.Error, TimeoutError):
        return True
    return None


async def _ask(pool: AsyncConnectionPool[Any]) -> None:
    async with HardTimeout() as bound, pool.connection(timeout=POOL_WAIT_S) as connection:
        bound.start(ANSWER_S)
        await check_asked(connection)


async def _ask_directly(conninfo: str) -> None:
    connection = await ClosingConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
    async with connection:
        await check_asked(connection)
