"""A pool whose attempts to connect back off connects at once when it is told to, and is as large as before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from harness.environments.cell import CellEnvironment
from harness.faults.proxy_down import ProxyDown
from harness.pools.nudge import nudge

pytestmark = pytest.mark.slow

#: The back-off after three failed attempts, at 0, 1 and 3 s, is 4 s: there is none for so long after the heal.
AWAY_S = 3.6
SOON_S = 1.0


@asynccontextmanager
async def backing_off(env: CellEnvironment) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """A pool without a connection, whose database is back, and which will not look before two seconds have passed."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(env.conninfo("g0"), open=False, min_size=1, max_size=2)
    try:
        async with ProxyDown().active(env):
            await pool.open()
            with suppress(PoolTimeout):
                await pool.getconn(timeout=0.1)  # it grows as far as it may: no later caller starts an attempt
            await asyncio.sleep(AWAY_S)
        assert pool.get_stats()["pool_available"] == 0
        yield pool
    finally:
        await pool.close()


async def test_who_waits_waits_for_the_back_off(cell_env: CellEnvironment) -> None:
    """When this fails psycopg_pool was changed, and nudges are no longer needed."""
    async with backing_off(cell_env) as pool:
        with pytest.raises(PoolTimeout):
            await pool.getconn(timeout=SOON_S)


async def test_a_nudged_pool_connects_at_once(cell_env: CellEnvironment) -> None:
    async with backing_off(cell_env) as pool:
        assert sorted(await asyncio.gather(nudge(pool), nudge(pool))) == [False, True]
        await pool.putconn(await pool.getconn(timeout=SOON_S))
        assert (pool.min_size, pool.max_size) == (1, 2)


async def test_a_closed_pool_is_left_alone(cell_env: CellEnvironment) -> None:
    async with backing_off(cell_env) as pool:
        await pool.close()
        assert not await nudge(pool)
