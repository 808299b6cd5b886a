"""PgBouncer in both modes, between Toxiproxy and Postgres."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import psycopg
import pytest

from harness.core.environment import Capability
from harness.core.errors import MissingComponent
from harness.environments.cell import CellEnvironment
from harness.environments.local import LocalPooler
from harness.environments.pgbouncer import console_rows
from harness.environments.stack import Stack
from tests.requirements import skip_without

MODES = (Capability.PGBOUNCER_SESSION, Capability.PGBOUNCER_TRANSACTION)


@pytest.fixture(params=MODES)
async def pooled(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[CellEnvironment]:
    """A cell behind PgBouncer; skipped with the reason where there is none."""
    skip_without(stack, request.param)
    async with stack.cell("pooled", groups=("g0", "g1"), pooler=request.param) as environment:
        yield environment


async def connect(environment: CellEnvironment, group: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    return await psycopg.AsyncConnection.connect(environment.conninfo(group), autocommit=True, prepare_threshold=None)


async def test_agents_reach_postgres_under_their_own_name(pooled: CellEnvironment) -> None:
    async with await connect(pooled, "g0") as connection:
        row = await (
            await connection.execute("SELECT current_setting('application_name'), pg_backend_pid()")
        ).fetchone()
        assert row is not None
        assert row[0] == pooled.application_name("g0")
        assert pooled.backends() == {"g0": (row[1],), "g1": ()}
        assert await pooled.leftover_backends(("g0", "g1")) == {"g0": 1, "g1": 0}
    for _ in range(50):  # the pooler learns of the goodbye through the proxy
        if (left := await pooled.leftover_backends(("g0", "g1"))) == {"g0": 0, "g1": 0}:
            break
        await asyncio.sleep(0.02)
    assert left == {"g0": 0, "g1": 0}


async def test_a_client_that_no_process_of_the_cell_holds_is_not_left_over(pooled: CellEnvironment) -> None:
    """As one that gave up while PgBouncer was halted, and stays in its list."""
    words = "import psycopg, sys; c = psycopg.connect(input()); print('in', flush=True); sys.stdin.read()"
    pipe = asyncio.subprocess.PIPE
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", words, stdin=pipe, stdout=pipe)
    try:
        assert stranger.stdin is not None
        assert stranger.stdout is not None
        stranger.stdin.write(f"{pooled.conninfo('g0')}\n".encode())
        assert await asyncio.wait_for(stranger.stdout.readline(), 20) == b"in\n"
        assert pooled.pooler is not None
        assert pooled.pooler.clients()[pooled.application_name("g0")] == 1
        assert await pooled.leftover_backends(("g0", "g1")) == {"g0": 0, "g1": 0}
        async with await connect(pooled, "g1") as connection:  # now somebody holds something: PgBouncer's list counts
            await connection.execute("SELECT 1")
            assert await pooled.leftover_backends(("g0", "g1")) == {"g0": 1, "g1": 1}
    finally:
        stranger.kill()
        await stranger.wait()


async def test_the_mode_is_what_was_asked_for(pooled: CellEnvironment) -> None:
    """In transaction mode two idle clients share one server connection, in session mode they do not."""
    async with await connect(pooled, "g0") as first, await connect(pooled, "g0") as second:
        pids = set()
        for connection in (first, second, first, second):
            row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            assert row is not None
            pids.add(row[0])
    expected = 2 if Capability.PGBOUNCER_SESSION in pooled.capabilities else 1
    assert len(pids) == expected


async def test_the_proxy_stands_before_the_pooler(pooled: CellEnvironment) -> None:
    async with await connect(pooled, "g0") as connection:
        await connection.execute("SELECT 1")
        await pooled.proxy.set_enabled(False)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
    await pooled.proxy.reset()
    async with await connect(pooled, "g0") as connection:
        await connection.execute("SELECT 1")
    assert "pgbouncer" in pooled.logs
    assert pooled.logs["pgbouncer"].is_file()


async def test_a_dead_pooler_is_a_leftover(pooled: CellEnvironment) -> None:
    assert pooled.pooler is not None
    pooled.pooler.stop()
    assert "PgBouncer is dead" in await pooled.leftovers()


@pytest.mark.slow
async def test_pgbouncer_recovers_within_a_second_of_a_lost_backend(pooled: CellEnvironment) -> None:
    """server_login_retry is 0.2 s here; the default of 15 s would decide every recovery by itself."""
    async with await psycopg.AsyncConnection.connect(pooled.admin.conninfo(), autocommit=True) as admin:
        name = pooled.admin.dbname
        await admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        with pytest.raises(psycopg.Error):
            async with await connect(pooled, "g0") as connection, asyncio.timeout(10):
                await connection.execute("SELECT 1")
        await admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    began = asyncio.get_running_loop().time()
    while True:
        try:
            async with await connect(pooled, "g0") as connection:
                await connection.execute("SELECT 1")
            break
        except psycopg.OperationalError:
            assert asyncio.get_running_loop().time() - began < 5
            await asyncio.sleep(0.05)
    assert asyncio.get_running_loop().time() - began < 3


@pytest.mark.slow
async def test_a_pooler_that_died_is_started_again_on_its_port(pooled: CellEnvironment) -> None:
    assert pooled.revive() == "", "a living one is left alone"
    assert isinstance(pooled.pooler, LocalPooler)
    os.kill(pooled.pooler.pooler.server.child.pid, signal.SIGKILL)
    for _ in range(100):
        if not pooled.pooler.alive():
            break
        await asyncio.sleep(0.02)
    assert pooled.revive() != ""
    async with asyncio.timeout(5):
        while True:
            try:
                connection = await connect(pooled, "g0")
                break
            except psycopg.OperationalError:
                await asyncio.sleep(0.05)
    async with connection:
        row = await (await connection.execute("SELECT 1")).fetchone()
        assert row == (1,)


async def test_a_strategys_own_settings_win(stack: Stack) -> None:
    mode = Capability.PGBOUNCER_TRANSACTION
    skip_without(stack, mode)
    wanted = {"server_login_retry": "15", "default_pool_size": "3", "max_prepared_statements": "0"}
    async with stack.cell("set", groups=("g0",), pooler=mode, settings=wanted) as environment:
        assert isinstance(environment.pooler, LocalPooler)
        rows = console_rows(environment.pooler.pooler.console, "SHOW CONFIG")
        has = {str(row["key"]): str(row["value"]) for row in rows}
        assert (has["server_login_retry"], has["default_pool_size"]) == ("15", "3")
        assert has.get("max_prepared_statements", "0") == "0", "what an old one does not have is off"
        assert has["query_wait_timeout"] == "6", "the others are ours"
        async with await connect(environment, "g0") as connection:
            await connection.execute("SELECT 1")


async def test_a_setting_that_an_old_pooler_does_not_have_is_a_missing_component(stack: Stack) -> None:
    mode = Capability.PGBOUNCER_TRANSACTION
    skip_without(stack, mode)
    (version,) = (component.version for component in stack.components if component.name == "pgbouncer")
    cell = stack.cell("old", groups=("g0",), pooler=mode, settings={"max_prepared_statements": "100"})
    if tuple(map(int, version.split("."))) >= (1, 21):
        async with cell as environment, await connect(environment, "g0") as connection:
            await connection.execute("SELECT 1", prepare=True)
        return
    with pytest.raises(MissingComponent, match=r"has no max_prepared_statements; allowed: 1\.21") as raised:
        async with cell:
            pytest.fail("it cannot start")
    assert "POOLPROOF_PGBOUNCER" in raised.value.fix
