"""Have a pool connect now.

psycopg_pool waits 1, 2, 4 ... s between two attempts to connect, also while the database has long been back, and
whoever waits for a connection waits as long. Growing its ``min_size`` by one starts an attempt at once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg_pool import AsyncConnectionPool

from harness.pools.deadline import STEP_S, hard_deadline

logger = logging.getLogger("poolproof.pools.nudge")

#: Connections that nudges may add to a pool above its ``max_size``; psycopg_pool drops them again when they idle.
NUDGES = 1

#: Two at a time would leave the pool with a larger ``min_size`` than it had.
_under_way: WeakSet[AsyncConnectionPool[Any]] = WeakSet()


async def nudge(pool: AsyncConnectionPool[Any]) -> bool:
    """Start an attempt to connect, unless the pool is closed or full, or a nudge is under way; True if one was started.

    ``pool`` has min < max size. Bounded; does not raise.
    """
    if pool.closed or pool in _under_way or pool.get_stats()["pool_size"] >= pool.max_size + NUDGES:
        return False
    low, high = pool.min_size, pool.max_size
    _under_way.add(pool)
    try:
        await quietly("resize", partial(hard_deadline, partial(pool.resize, low + 1, high), STEP_S))
        await quietly("resize", partial(hard_deadline, partial(pool.resize, low, high), STEP_S))
    finally:
        _under_way.discard(pool)
    return True


async def quietly(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Await ``step()``; what it raises because of the database is a warning in the log."""
    try:
        await step()
    except (psycopg.Error, TimeoutError) as error:
        logger.warning("%s did not end well: %s: %s", what, type(error).__name__, error)
