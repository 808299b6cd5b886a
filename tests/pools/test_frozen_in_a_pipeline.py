"""What a replica that stands still in the middle of a pipeline holds: the server keeps its implicit transaction open,
and with it the lock of every row that it wrote, so whoever repeats the turn on another replica waits for it to wake.
"""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest
from psycopg import generators

from harness.environments.cell import CellEnvironment

pytestmark = pytest.mark.slow

SAVE = "INSERT INTO frozen VALUES (1) ON CONFLICT (k) DO UPDATE SET k = EXCLUDED.k"
#: For how long the replica that repeats the turn waits, as a turn's deadline would.
WAITS_S = 3.0
TRANSACTION_TIMEOUT_S = 1.0


async def _save_without_its_sync(frozen: psycopg.AsyncConnection[object]) -> None:
    """As the saver's pipeline is when the process stops between its INSERT, which is answered, and its Sync."""
    frozen.pgconn.enter_pipeline_mode()
    frozen.pgconn.send_query_params(SAVE.encode(), [])
    frozen.pgconn.send_flush_request()
    frozen.pgconn.flush()
    answer = await asyncio.wait_for(frozen.wait(generators.fetch(frozen.pgconn)), WAITS_S)
    assert answer is not None
    assert answer.status == psycopg.pq.ExecStatus.COMMAND_OK


@pytest.mark.parametrize("transaction_timeout_s", [0.0, TRANSACTION_TIMEOUT_S])
async def test_a_replica_that_stands_still_in_a_pipeline_holds_its_rows(
    transaction_timeout_s: float, cell_env: CellEnvironment
) -> None:
    """Nothing ends it but ``transaction_timeout``, which Postgres has from version 17 on: it is neither idle in a
    transaction nor in a statement.
    """
    conninfo = cell_env.conninfo("g0")
    async with (
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as frozen,
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as other,
    ):
        if transaction_timeout_s and frozen.info.server_version < 170000:
            pytest.skip("transaction_timeout came with Postgres 17")
        await other.execute("CREATE TABLE frozen (k int PRIMARY KEY)")
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            await frozen.execute(f"SET {setting} = '500ms'")
        if transaction_timeout_s:
            await frozen.execute(f"SET transaction_timeout = '{transaction_timeout_s:g}s'")
        await _save_without_its_sync(frozen)
        began_s = time.monotonic()
        try:
            await asyncio.wait_for(other.execute(SAVE), WAITS_S)
            answered = True
        except TimeoutError:
            answered = False
        waited_s = time.monotonic() - began_s
        frozen.pgconn.finish()
    assert answered is bool(transaction_timeout_s)
    assert waited_s > (transaction_timeout_s or WAITS_S) / 2
