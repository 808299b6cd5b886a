"""An attempt to connect that ran into its timeout, or was cancelled: is its socket closed then, or when the collector
comes by, or when nobody keeps the error any more?
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from harness.environments.cell import CellEnvironment
from harness.environments.routes import straight_to
from harness.faults.latency import Latency
from harness.pools.nothing_lost import ClosingConnection

pytestmark = pytest.mark.slow


@contextmanager
def no_collector() -> Iterator[None]:
    """As between two of its visits, which may be minutes apart for what has lived for a while."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


@pytest.mark.parametrize(("connection_class", "left"), [(psycopg.AsyncConnection, 1), (ClosingConnection, 0)])
async def test_a_connect_that_timed_out(
    connection_class: type[psycopg.AsyncConnection[Any]], left: int, cell_env: CellEnvironment
) -> None:
    """With psycopg's own class the socket stays. When that fails psycopg was mended, and ours is no longer needed."""
    async with Latency(latency_ms=400, stream="downstream").active(cell_env):
        with no_collector():
            attempt = asyncio.ensure_future(connection_class.connect(cell_env.conninfo("g0"), connect_timeout=2))
            await asyncio.sleep(0.1)
            time.sleep(2.4)  # noqa: ASYNC251 - a loop that stands still is what makes it miss its time
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                await attempt
            del attempt
            await asyncio.sleep(0.1)
            assert straight_to(cell_env.endpoint.port, ()) == left


@pytest.mark.parametrize(("connection_class", "left"), [(psycopg.AsyncConnection, 1), (ClosingConnection, 0)])
async def test_a_connect_that_was_cancelled_and_whose_error_is_kept(
    connection_class: type[psycopg.AsyncConnection[Any]], left: int, cell_env: CellEnvironment
) -> None:
    """As a log record or an error tracker keeps it. When psycopg's own class leaves nothing it was mended."""
    kept: list[BaseException] = []

    async def call() -> None:
        try:
            async with asyncio.timeout(0.2):
                await connection_class.connect(cell_env.conninfo("g0"))
        except TimeoutError as error:
            kept.append(error)

    async with Latency(latency_ms=400, stream="downstream").active(cell_env):
        await asyncio.ensure_future(call())
        assert [type(error) for error in kept] == [TimeoutError]
        assert straight_to(cell_env.endpoint.port, ()) == left
        kept.clear()
        gc.collect()
        assert straight_to(cell_env.endpoint.port, ()) == 0
