"""A server that takes no writes is noticed: by what it says of itself with each answer, or when it is asked."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from harness.core.environment import Capability
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.pools.deadline import BoundedSaver
from harness.pools.health import Health, HealthCheck
from harness.pools.uncancelled import OneServerConnection, UncancelledConnection
from harness.pools.writable import TakesNoWrites, check_asked, reading
from tests.requirements import skip_without

pytestmark = pytest.mark.slow

READ_ONLY = "-c default_transaction_read_only=on"
THREAD: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


async def test_a_living_connection_is_told_with_the_next_answer(stack: Stack) -> None:
    """A primary that is demoted under a connection: the first read that it answers so says so itself."""
    needs = frozenset({Capability.SERVER_PROCESS})
    async with (
        stack.cell("writable", groups=("g0",), pooler=None, needs=needs) as env,
        await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True) as connection,
    ):
        async with reading(connection):
            await connection.execute("SELECT 1")
        await check_asked(connection)
        await env.server.set_parameter("default_transaction_read_only", "on")
        with pytest.raises(TakesNoWrites, match="default_transaction_read_only is on"):
            async with reading(connection):
                await connection.execute("SELECT 1")
        with pytest.raises(TakesNoWrites, match="transaction_read_only is on"):
            await check_asked(connection)
        await env.server.reset_parameter("default_transaction_read_only")
        async with reading(connection):
            await connection.execute("SELECT 1")
        await check_asked(connection)


async def test_behind_a_pooler_only_the_answer_counts(cell_env: CellEnvironment) -> None:
    """PgBouncer passes on what the first server said at its login: that may be another one by now."""
    conninfo = make_conninfo(cell_env.conninfo("g0"), options=READ_ONLY)
    async with await UncancelledConnection.connect(conninfo, autocommit=True) as connection:
        assert connection.info.parameter_status("default_transaction_read_only") == "on"
        await connection.execute("SET default_transaction_read_only = off")  # as on the server that it leads to by now
        async with reading(connection):
            await connection.execute("SELECT 1")
        await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(TakesNoWrites, match="transaction_read_only is on"):
            async with reading(connection):
                await connection.execute("SELECT 1")
        with pytest.raises(TakesNoWrites):
            await check_asked(connection)


async def test_a_session_behind_a_pooler_is_asked_until_its_server_is_the_one_that_is_heard(stack: Stack) -> None:
    """Its server was made after the first one, when the login's words were kept, and is read-only from its birth on."""
    mode = Capability.PGBOUNCER_SESSION
    skip_without(stack, mode)
    needs = frozenset({Capability.SERVER_PROCESS})
    async with (
        stack.cell("session", groups=("g0",), pooler=mode, needs=needs) as env,
        await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True) as first,
    ):
        await first.execute("SELECT 1")
        await env.server.set_parameter("default_transaction_read_only", "on")
        async with await OneServerConnection.connect(env.conninfo("g0"), autocommit=True) as connection:
            assert connection.info.parameter_status("default_transaction_read_only") == "off"
            with pytest.raises(TakesNoWrites, match="transaction_read_only is on"):
                async with reading(connection):
                    await connection.execute("SELECT 1")
            hears = [connection.hears_its_server]
            await env.server.reset_parameter("default_transaction_read_only")
            async with reading(connection):
                await connection.execute("SELECT 1")
            assert [*hears, connection.hears_its_server] == [False, True]
            await env.server.set_parameter("default_transaction_read_only", "on")
            with pytest.raises(TakesNoWrites, match="default_transaction_read_only is on"):
                async with reading(connection):
                    await connection.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError):  # it does not outlive its server: no other one comes
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            assert connection.closed


@pytest.mark.parametrize(
    ("mode", "connection_class"),
    [
        (Capability.PGBOUNCER_SESSION, UncancelledConnection),
        (Capability.PGBOUNCER_SESSION, OneServerConnection),
        (Capability.PGBOUNCER_TRANSACTION, UncancelledConnection),
    ],
)
async def test_a_saver_behind_a_pooler_does_not_read_the_past(
    mode: Capability, connection_class: type[UncancelledConnection], stack: Stack
) -> None:
    """Its migrations still work there, which no transaction may hold."""
    skip_without(stack, mode)
    needs = frozenset({Capability.SERVER_PROCESS})
    async with stack.cell("pooled", groups=("g0",), pooler=mode, needs=needs) as env:
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            env.conninfo("g0"),
            connection_class=connection_class,
            min_size=1,
            max_size=1,
            open=False,
            kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": None},
        )
        async with pool:
            saver = BoundedSaver(pool)
            async with pool.connection() as connection:
                await connection.execute("DROP INDEX checkpoints_thread_id_idx")
                await connection.execute("DELETE FROM checkpoint_migrations WHERE v >= 6")
            await saver.setup()
            kept = await saver.aput(THREAD, empty_checkpoint(), {}, {})
            assert await _newest(saver) == [kept["configurable"]["checkpoint_id"]] * 2
            await env.server.set_parameter("default_transaction_read_only", "on")
            with pytest.raises(TakesNoWrites):
                await saver.aget_tuple(THREAD)
            with pytest.raises(TakesNoWrites):
                [_ async for _ in saver.alist(THREAD)]
            with pytest.raises(TakesNoWrites):
                await anext(saver.alist(THREAD))
            await env.server.reset_parameter("default_transaction_read_only")
            assert await _newest(saver) == [kept["configurable"]["checkpoint_id"]] * 2
            await saver.aprune(["t"])


async def _newest(saver: BoundedSaver) -> list[str]:
    """The id of the newest checkpoint, by both ways to ask for it."""
    found = await saver.aget_tuple(THREAD)
    assert found is not None
    listed = [item.checkpoint["id"] async for item in saver.alist(THREAD)]
    return [found.checkpoint["id"], *listed]


@pytest.mark.parametrize(
    ("pooled", "fresh", "found"),
    [("", "", Health.GOOD), (READ_ONLY, "", Health.LOST), (READ_ONLY, READ_ONLY, Health.AWAY)],
)
async def test_a_health_check_wants_a_server_that_takes_writes(
    pooled: str, fresh: str, found: Health, cell_env: CellEnvironment
) -> None:
    """A pool that stayed on the old primary is renewed, and not before the name leads to the new one."""
    conninfo = cell_env.conninfo("g0")
    kwargs: dict[str, Any] = {"autocommit": True, "row_factory": dict_row}
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        make_conninfo(conninfo, options=pooled), min_size=1, max_size=1, open=False, kwargs=kwargs
    )
    async with pool:
        check = HealthCheck(make_conninfo(conninfo, options=fresh))
        assert await check.look(pool) is found


async def test_who_is_slow_over_a_list_holds_nothing(cell_env: CellEnvironment) -> None:
    """With the plain saver another call waits for its lock until the list has come to its end."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        cell_env.conninfo("g0"),
        min_size=1,
        max_size=1,
        open=False,
        kwargs={"autocommit": True, "row_factory": dict_row},
    )
    async with pool:
        for saver, held in ((AsyncPostgresSaver(pool), True), (BoundedSaver(pool), False)):
            await saver.aput(THREAD, empty_checkpoint(), {}, {})
            seen = [(saver.lock.locked(), pool.get_stats()["pool_available"] == 0) async for _ in saver.alist(THREAD)]
            assert seen
            assert set(seen) == {(held, held)}
