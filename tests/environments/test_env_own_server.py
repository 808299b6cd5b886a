"""A cell's own Postgres: it is as the shared one, the shared one does not feel it, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from harness.core.environment import OWN_SERVER, Capability, Shutdown
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.cell import CellEnvironment
from harness.environments.processes import children_of, start_ticks
from harness.environments.stack import Stack
from tests.requirements import skip_without

OWN = frozenset({Capability.SERVER_PROCESS})
STANDBY = frozenset({Capability.SERVER_STANDBY})

pytestmark = pytest.mark.slow


def server_folders(stack: Stack) -> list[Path]:
    """The data of cells' own servers, wherever this process's stacks keep them."""
    places = (stack.folder, *Path("/dev/shm").glob("poolproof-*"))
    return [folder for place in places for folder in place.glob(f"cell_{os.getpid()}_*-server")]


async def value_of(conninfo: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0]


async def test_it_is_another_server_with_the_same_tables_and_roles(stack: Stack, cell_env: CellEnvironment) -> None:
    async with stack.cell("own", groups=("g0",), needs=OWN) as env:
        assert env.capabilities == {Capability.POSTGRES, Capability.TOXIPROXY, Capability.SERVER_PROCESS}
        assert env.admin.port != cell_env.admin.port
        tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'checkpoint%'"
        assert await value_of(env.conninfo("g0"), tables) == 4
        assert await value_of(env.conninfo("g0"), "SHOW is_superuser") == "off"
        assert await value_of(env.conninfo("g0"), "SHOW synchronous_commit") == "on", "it keeps what it acknowledged"
        assert env.backends() == {"g0": ()}
        assert env.logs["postgres"].is_file()
    assert server_folders(stack) == []
    assert await value_of(cell_env.conninfo("g0"), "SELECT 1") == 1


async def test_a_cell_may_end_while_its_server_is_down_paused_or_held(stack: Stack, cell_env: CellEnvironment) -> None:
    async with stack.cell("down", groups=("g0",), needs=OWN) as env:
        await env.server.stop(Shutdown.FAST)
    async with stack.cell("paused", groups=("g0",), needs=OWN) as env:
        pid = env.server.child.pid
        await env.server.pause(sessions_only=False)
    assert start_ticks(pid) is None
    async with stack.cell("held", groups=("g0",), needs=OWN) as env:
        await env.server.stop(Shutdown.KILL)
        await env.server.start_held()
        pid, below = env.server.child.pid, children_of(env.server.child.pid)
    assert [p for p in (pid, *below) if start_ticks(p) is not None] == []
    assert server_folders(stack) == []
    assert stack.dead() == ()


async def test_only_sessions_that_live_are_paused_and_counted_and_the_next_one_is_waited_for(stack: Stack) -> None:
    async with stack.cell("sessions", groups=("g0",), needs=OWN) as env:
        gone = [await psycopg.AsyncConnection.connect(env.conninfo("g0")) for _ in range(3)]
        for connection in gone:
            await connection.close()
        stop_s = time.monotonic() + 5
        while (await env.leftover_backends(("g0",)))["g0"]:
            assert time.monotonic() < stop_s
        pausing = asyncio.ensure_future(env.server.pause(sessions_only=True))
        await asyncio.sleep(0.5)
        assert not pausing.done(), "nobody of the agents is there"
        late = asyncio.ensure_future(psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True))
        assert (await pausing)["processes"] == 1  # perhaps just before its client is told that it is ready

        async def ask() -> None:
            async with await late as connection:
                await connection.execute("SELECT 1")

        asking = asyncio.ensure_future(ask())
        await asyncio.sleep(0.3)
        assert not asking.done()
        await env.server.resume()
        await asyncio.wait_for(asking, 2.0)


async def test_a_pause_without_any_session_says_so(stack: Stack) -> None:
    async with stack.cell("nobody", groups=("g0",), needs=OWN) as env:
        with pytest.raises(ComponentError, match="could not be paused: no session of agent stands still"):
            await env.server.pause(sessions_only=True)
        assert await value_of(env.conninfo("g0"), "SELECT 1") == 1


async def test_what_was_acknowledged_outlives_a_crash(stack: Stack) -> None:
    async with stack.cell("crash", groups=("g0",), needs=OWN) as env:
        async with await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True) as connection:
            await connection.execute("CREATE TABLE kept (i int)")
            for number in range(50):
                await connection.execute("INSERT INTO kept VALUES (%s)", (number,))
            await env.server.stop(Shutdown.KILL)
        await env.server.start()
        assert await value_of(env.conninfo("g0"), "SELECT count(*) FROM kept") == 50


async def test_a_cell_without_one_says_what_to_name(cell_env: CellEnvironment) -> None:
    with pytest.raises(MissingComponent) as raised:
        _ = cell_env.server
    assert "SERVER_PROCESS" in raised.value.fix


async def test_levers_that_the_plan_did_not_ask_for_are_refused(stack: Stack) -> None:
    async with stack.cell("plain", groups=("g0",), needs=OWN) as env:
        with pytest.raises(ComponentError, match="SMALL_DISK"):
            await env.server.fill_disk()
        with pytest.raises(ComponentError, match="SERVER_STANDBY"):
            await env.server.promote()
        with pytest.raises(ComponentError, match="promoted"):
            await env.server.reroute()
        with pytest.raises(ComponentError, match="no_such_parameter"):
            await env.server.set_parameter("no_such_parameter", "1")


async def test_nothing_that_was_acknowledged_is_lost_in_a_failover_under_load(stack: Stack) -> None:
    async with stack.cell("failover", groups=("g0",), needs=STANDBY) as env:
        assert env.endpoint.port != env.server.front_port, "agents still go through the proxy"
        async with await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True) as connection:
            await connection.execute("CREATE TABLE kept (i int)")
            for number in range(200):
                await connection.execute("INSERT INTO kept VALUES (%s)", (number,))
            await env.server.promote()
        await env.server.reroute()
        await env.server.reroute()  # idempotent, as a heal has to be
        assert await value_of(env.conninfo("g0"), "SELECT count(*) FROM kept") == 200
        assert await value_of(env.admin.conninfo(), "SELECT pg_is_in_recovery()") is False


async def test_a_pooler_hears_of_the_new_primary(stack: Stack) -> None:
    pooler = Capability.PGBOUNCER_TRANSACTION
    skip_without(stack, pooler)
    async with (
        stack.cell("pooled", groups=("g0",), pooler=pooler, needs=STANDBY) as env,
        await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True) as connection,
    ):
        await env.server.promote()
        await env.server.reroute()
        deadline = time.monotonic() + 5
        query = "SHOW transaction_read_only"
        while (await (await connection.execute(query, prepare=False)).fetchall()) != [("off",)]:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("state", ["await env.server.pause(sessions_only=False)", "await env.server.start_held()"])
def test_sigkill_leaves_nothing_of_a_server_that_stands_still(state: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM).replace("STATE", state)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) > 3
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait(5)
    owner.stdout.close()
    deadline = time.monotonic() + 8
    while (alive := [pid for pid in pids if start_ticks(pid) is not None]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive == []


PROGRAM = """
    import asyncio, os
    from harness.core.environment import Capability, Shutdown
    from harness.environments.processes import children_of
    from harness.environments.stack import Stack
    stack = Stack.open(needs=frozenset({Capability.POSTGRES, Capability.TOXIPROXY}))
    async def main():
        async with stack.cell("x", groups=("g0",), needs=frozenset({Capability.SERVER_PROCESS})) as env:
            if "held" in "STATE":
                await env.server.stop(Shutdown.KILL)
            STATE
            pids = [env.server.child.pid, *children_of(env.server.child.pid)]
            os.write(1, (" ".join(map(str, pids)) + chr(10)).encode())
            await asyncio.sleep(60)
    asyncio.run(main())
"""


async def test_an_environment_that_gives_no_own_servers_says_so(stack: Stack) -> None:
    """Containers, and a server of the user's own: the cell is skipped with the reason."""

    class Shared:
        """What a provisioner without ``with_own_server`` shows to a stack."""

        missing: dict[Capability, MissingComponent] = {}  # noqa: RUF012
        components = ()
        logs: dict[str, Path] = {}  # noqa: RUF012
        folder = stack.folder

        def stop(self) -> None:
            """Nothing runs."""

    other = Stack(Shared())  # type: ignore[arg-type]
    try:
        assert set(other.missing) >= OWN_SERVER
        with pytest.raises(MissingComponent, match="no Postgres of its own"):
            async with other.cell("x", groups=("g0",), needs=OWN):
                pass
    finally:
        other.close()
