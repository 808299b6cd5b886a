"""A connection that is given back reaches its pool, although whoever gives it back is cancelled just then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from harness.environments.cell import CellEnvironment
from harness.pools.deadline import uninterrupted
from harness.pools.nothing_lost import leave_to_workers
from harness.pools.null_pool import Lease

pytestmark = pytest.mark.slow


async def lost_after_a_cancelled_return(env: CellEnvironment, settings: Mapping[str, Any]) -> int:
    """How many of two connections a pool misses, after their borrower was cancelled while it gave one back."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        env.conninfo("g0"), open=False, min_size=2, max_size=2, kwargs={"autocommit": True}, **settings
    )
    await pool.open(wait=True, timeout=5)
    try:
        connection = await pool.getconn()
        async with pool._lock:  # as when another borrower comes at this moment
            task = asyncio.ensure_future(pool.putconn(connection))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait({task})
        await asyncio.sleep(0.2)
        stats = pool.get_stats()
        await connection.close()
        return stats["pool_size"] - stats["pool_available"]
    finally:
        await pool.close()


async def test_a_pool_that_takes_back_on_its_workers_loses_nothing(cell_env: CellEnvironment) -> None:
    assert await lost_after_a_cancelled_return(cell_env, {"reset": leave_to_workers}) == 0


async def test_a_pool_without_that_loses_the_connection_for_good(cell_env: CellEnvironment) -> None:
    """When this fails psycopg_pool was mended, and ``leave_to_workers`` is no longer needed."""
    assert await lost_after_a_cancelled_return(cell_env, {}) == 1


class Counter:
    """Stands for a pool: what is of interest is who goes on when the borrower is cancelled."""

    back = 0

    async def putconn(self, connection: AsyncConnection[Any]) -> None:
        await asyncio.sleep(0.1)
        self.back += 1


async def test_a_lease_is_given_back_although_its_request_is_cancelled_twice() -> None:
    pool: Any = Counter()
    lease = Lease(pool, None)  # type: ignore[arg-type]
    task = asyncio.ensure_future(lease.give_back())
    for _ in range(2):
        await asyncio.sleep(0.01)
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await asyncio.sleep(0.2)
    assert pool.back == 1


async def test_what_is_not_interrupted_raises_its_own_error() -> None:
    async def breaks() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await uninterrupted(breaks)
