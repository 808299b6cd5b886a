"""The middle as a process: it obeys nobody else, holds nothing up, and goes with its cell, however that ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from harness.core.environment import Capability, Shutdown, Strike
from harness.core.errors import ComponentError
from harness.environments import middle
from harness.environments.cell import CellEnvironment
from harness.environments.processes import children_of, start_ticks
from harness.environments.stack import Stack

NEEDS = frozenset({Capability.PROTOCOL})
STRIKE = Strike(name="s", moment="commit", table="any", nth=1, times=1, action="cut", stall_ms=1)

pytestmark = pytest.mark.slow


def place(env: CellEnvironment) -> tuple[str, int]:
    host, _, port = env.middle.upstream.rpartition(":")
    return host, int(port)


def arguments_of(env: CellEnvironment) -> bytes:
    return Path(f"/proc/{env.middle._listening.child.pid}/cmdline").read_bytes()


async def say(env: CellEnvironment, raw: bytes) -> bytes:
    """What the middle answers, straight to its port, until it closes."""
    reader, writer = await asyncio.open_connection(*place(env))
    writer.write(raw)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_orders_without_the_secret_are_refused_and_change_nothing(stack: Stack) -> None:
    async with stack.cell("x", groups=("g0",), needs=NEEDS) as env:
        order = b"guess\0" + json.dumps({"do": "look"}).encode()
        answer = await say(env, middle.HEAD.pack(middle.HEAD.size + len(order), middle.ORDER_CODE) + order)
        assert json.loads(answer) == {"error": "who orders this does not know the secret"}
        assert await env.middle.armed() == ()
        assert env.middle._secret.encode() not in arguments_of(env), "everybody on this machine may read those"


async def test_it_listens_on_one_address_of_loopback_alone(stack: Stack) -> None:
    async with stack.cell("x", groups=("g0",), needs=NEEDS) as env:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", place(env)[1])


async def test_two_strikes_of_one_name_are_refused_and_disarming_twice_is_none(stack: Stack) -> None:
    async with stack.cell("x", groups=("g0",), needs=NEEDS) as env:
        assert await env.middle.arm(STRIKE) == {"armed": "s"}
        with pytest.raises(ComponentError, match="'s' is armed already"):
            await env.middle.arm(STRIKE)
        assert await env.leftovers() == ("s is armed",)
        assert await env.middle.disarm("s") == {"struck": 0, "seen": 0, "hits": []}
        assert await env.middle.disarm("s") == {}
        assert await env.leftovers() == ()


async def test_whoever_speaks_no_postgres_is_passed_on_or_closed(stack: Stack) -> None:
    async with stack.cell("x", groups=("g0",), needs=NEEDS) as env:
        assert await say(env, b"GET / HTTP/1.1\r\n\r\n") == b"", "Postgres closes without a word, and so do we"
        reader, writer = await asyncio.open_connection(*place(env))
        writer.close()  # before it said anything
        assert await asyncio.wait_for(reader.read(), 5) == b""
        async with await psycopg.AsyncConnection.connect(env.conninfo("g0")) as connection:
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
        assert env.middle.log.read_text() == ""


async def test_a_server_that_is_away_is_seen_as_away(stack: Stack) -> None:
    """Nothing behind the middle: the client sees its connection closed, as behind any proxy."""
    needs = NEEDS | {Capability.SERVER_PROCESS}
    async with stack.cell("x", groups=("g0",), needs=needs) as env:
        await env.server.stop(Shutdown.FAST)
        with pytest.raises(psycopg.OperationalError):
            await psycopg.AsyncConnection.connect(env.conninfo("g0"), connect_timeout=3)
        await env.server.start()
        await (await psycopg.AsyncConnection.connect(env.conninfo("g0"))).close()


async def test_large_values_pass_in_both_directions(stack: Stack) -> None:
    async with stack.cell("x", groups=("g0",), needs=NEEDS) as env:
        large = os.urandom(3_000_000)
        async with await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True) as connection:
            for _ in range(2):
                row = await (await connection.execute("SELECT %s::bytea", (large,), binary=True)).fetchone()
                assert row == (large,)
            async with connection.cursor().copy("COPY (SELECT generate_series(1, 20000)) TO STDOUT") as copy:
                rows = [row async for row in copy.rows()]
        assert len(rows) == 20_000


async def test_it_goes_with_its_cell(stack: Stack) -> None:
    before = children_of(os.getpid())
    async with stack.cell("x", groups=("g0",), needs=NEEDS) as env:
        connection = await psycopg.AsyncConnection.connect(env.conninfo("g0"))
        assert len(children_of(os.getpid()) - before) == 1
    assert children_of(os.getpid()) <= before
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")
    await connection.close()


def test_it_ends_when_its_cell_is_killed() -> None:
    script = """
        import asyncio, os
        from harness.core.environment import Capability
        from harness.environments.stack import Stack

        async def main():
            stack = Stack.open("local")
            async with stack.cell("x", groups=("g0",), needs=frozenset({Capability.PROTOCOL})) as env:
                print(env.middle._listening.child.pid, flush=True)
                await asyncio.sleep(60)

        asyncio.run(main())
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as cell:
        assert cell.stdout is not None
        pid = int(cell.stdout.readline())
        assert start_ticks(pid) is not None
        cell.send_signal(signal.SIGKILL)
    stop_s = time.monotonic() + 5
    while start_ticks(pid) is not None and time.monotonic() < stop_s:
        time.sleep(0.01)
    assert start_ticks(pid) is None
