"""What reaches PgBouncer when a query's task is cancelled: psycopg's request for it, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from harness.core.environment import Capability
from harness.environments.stack import Stack
from harness.pools.uncancelled import UncancelledConnection
from tests.requirements import skip_without

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("connection_class", "requests", "ends"),
    [(psycopg.AsyncConnection, 1, "the query is cancelled"), (UncancelledConnection, 0, "the query is awaited")],
)
async def test_cancelling_a_query(
    connection_class: type[psycopg.AsyncConnection[Any]], requests: int, ends: str, stack: Stack
) -> None:
    pooler = Capability.PGBOUNCER_TRANSACTION
    skip_without(stack, pooler)
    loop = asyncio.get_running_loop()
    async with stack.cell("uncancelled", groups=("g0",), pooler=pooler) as env:
        async with await connection_class.connect(
            env.conninfo("g0"), autocommit=True, prepare_threshold=None
        ) as connection:
            task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(1)"))
            await asyncio.sleep(0.3)
            began_s = loop.time()
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            took_s = loop.time() - began_s
            assert task.cancelled()
            assert ("the query is awaited" if took_s > 0.5 else "the query is cancelled") == ends, took_s
            cursor = await connection.execute("SELECT 1")
            assert await cursor.fetchone() == (1,)
        said = env.logs["pgbouncer"].read_text()
    assert said.count("started sending cancel request") == requests, said
