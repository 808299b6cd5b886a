"""A pipeline whose writing is cancelled twice: does its end make a noise that nobody can catch?"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import psycopg
import pytest

from harness.environments.cell import CellEnvironment
from harness.faults.bandwidth import Bandwidth
from harness.pools.nothing_lost import ClosingConnection

pytestmark = pytest.mark.slow

#: More than all buffers on the way hold, so that writing it comes to a halt.
MUCH = "x" * 32 * 1024 * 1024


async def write_much(connection: psycopg.AsyncConnection[Any], written: asyncio.Event) -> None:
    """``written`` is set when the pipeline is about to end, most of what it wrote still in the client."""
    async with connection.pipeline():
        await connection.execute("SELECT length(%s)", [MUCH])
        written.set()


@pytest.mark.parametrize(("connection_class", "noises"), [(psycopg.AsyncConnection, 1), (ClosingConnection, 0)])
async def test_a_pipeline_that_cannot_write_and_is_cancelled_twice(
    connection_class: type[psycopg.AsyncConnection[Any]],
    noises: int,
    cell_env: CellEnvironment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With psycopg's own class it is told as unraisable. When that fails psycopg was mended, and ours is not needed."""
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda noise: told.append(f"{noise.exc_value} in {noise.object}"))
    connection = await connection_class.connect(cell_env.conninfo("g0"), autocommit=True)
    async with Bandwidth(rate_kb_per_s=500, stream="upstream").active(cell_env):
        written = asyncio.Event()
        task = asyncio.ensure_future(write_much(connection, written))
        await asyncio.wait_for(written.wait(), 20)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.closed
        del task
        gc.collect()
    assert len(told) == noises, told
