"""Every fault of the pooler, on a real PgBouncer in both modes: visible inside its window, gone after it, gone after a
cancellation in it, and gone with a cell that is killed in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from harness.core.environment import Capability
from harness.core.errors import MissingComponent, UsageError
from harness.core.fault import Fault, Window, Witness, check_plan, fault_to_json
from harness.environments.cell import CellEnvironment
from harness.environments.local import LocalPooler
from harness.environments.processes import start_ticks
from harness.environments.stack import Stack
from harness.faults.pooler_black_hole import PoolerBlackHole
from harness.faults.pooler_exhausted import PoolerExhausted, _Crowd
from harness.faults.pooler_halted import PoolerHalted
from harness.faults.pooler_reconnect import PoolerReconnect
from harness.faults.pooler_restart import PoolerRestart
from tests.faults.cancelling import cancelled_inside, cancelled_while_installed
from tests.requirements import skip_without

Connection = psycopg.AsyncConnection[Any]

TRANSACTION, SESSION = Capability.PGBOUNCER_TRANSACTION, Capability.PGBOUNCER_SESSION
NEEDS = frozenset({Capability.POOLER_PROCESS, Capability.POOLER_LINK})
#: PgBouncer itself refuses everybody for so long after a login at the server that failed (server_login_retry), and then
#: tries again: what a black hole of its link is followed by.
RETRY_S = 1.5
#: PgBouncer leaves an idle server connection within a third of a second after RECONNECT.
LEFT_WITHIN_S = 0.45
ALL: Sequence[Fault] = (
    PoolerRestart(),
    PoolerHalted(order="pause"),
    PoolerHalted(order="kill"),
    PoolerReconnect(period_ms=50),
    PoolerBlackHole(stream="downstream"),
    PoolerBlackHole(stream="upstream"),
    PoolerExhausted(slots=1),
)

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


def name_of(fault: Fault) -> str:
    return "-".join(str(value) for value in fault_to_json(fault).values())


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=[TRANSACTION, SESSION])
async def env(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[CellEnvironment]:
    """One cell for all faults, one after the other: it has to come out of each as it was."""
    skip_without(stack, request.param)
    async with stack.cell("laws", groups=("g0",), pooler=request.param, needs=NEEDS) as environment:
        yield environment


async def connect(env: CellEnvironment) -> Connection:
    return await Connection.connect(env.conninfo("g0"), autocommit=True, prepare_threshold=None)


async def error_of(connection: Connection, query: str = "SELECT 1", limit_s: float = 2.0) -> BaseException | None:
    """What a statement ends in: None if it works, TimeoutError if it has no end within ``limit_s``."""
    task = asyncio.ensure_future(connection.execute(query))
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    if done:
        return task.exception()
    connection.pgconn.finish()
    task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    return TimeoutError()


async def error_of_new(env: CellEnvironment, limit_s: float = 0.5) -> BaseException | None:
    """What becomes of a new connection and its first statement."""

    async def call() -> None:
        async with asyncio.timeout(limit_s):
            connection = await connect(env)
        error = await error_of(connection, limit_s=limit_s)
        await connection.close()
        if error is not None:
            raise error

    (outcome,) = await asyncio.gather(call(), return_exceptions=True)
    return outcome


async def assert_served(env: CellEnvironment) -> None:
    """New connections are served at once, and nothing is left standing."""
    stop_s = time.monotonic() + RETRY_S
    served = 0
    while served < 2:
        connection = await connect(env)
        error = await error_of(connection, "SELECT count(*) FROM checkpoints")
        await connection.close()
        assert error is None or ("server_login_retry" in str(error) and time.monotonic() < stop_s)
        served += error is None
    assert time.monotonic() < stop_s + 1.0
    await until(lambda: nothing_left(env))


async def nothing_left(env: CellEnvironment) -> bool:
    """A backend whose client was cut off may still be ending; anything else has no such excuse."""
    left = await env.leftovers()
    assert all("backend" in words for words in left)
    return not left


async def until(true: Callable[[], Awaitable[bool]], limit_s: float = 3.0) -> None:
    stop_s = time.monotonic() + limit_s
    while not await true():
        assert time.monotonic() < stop_s
        await asyncio.sleep(0.02)


def in_transaction_mode(env: CellEnvironment) -> bool:
    return TRANSACTION in env.capabilities


async def seen(fault: Fault, env: CellEnvironment, old: Connection) -> None:
    """Inside the window: what an old connection and a new one meet."""
    if isinstance(fault, PoolerRestart):
        assert isinstance(await error_of(old), psycopg.OperationalError)
        assert isinstance(await error_of_new(env), psycopg.OperationalError)
    elif isinstance(fault, PoolerHalted) and fault.order == "kill":
        assert "database removed" in str(await error_of(old))
        assert isinstance(await error_of_new(env), TimeoutError)
    elif isinstance(fault, PoolerBlackHole):
        assert isinstance(await error_of(old, limit_s=0.5), TimeoutError)
        assert isinstance(await error_of_new(env), TimeoutError)
    else:
        assert isinstance(fault, PoolerHalted | PoolerExhausted)
        assert isinstance(await error_of_new(env), TimeoutError)
        error = await error_of(old, limit_s=0.5)
        if in_transaction_mode(env):
            assert isinstance(error, TimeoutError)
        else:
            assert error is None, "a session keeps what it has"


@pytest.mark.parametrize("fault", [f for f in ALL if not isinstance(f, PoolerReconnect)], ids=name_of)
async def test_a_pooler_fault_is_seen_inside_its_window_and_gone_after_it(fault: Fault, env: CellEnvironment) -> None:
    async with await connect(env) as old:
        assert await error_of(old) is None
        async with fault.active(env) as witness:
            assert witness.change
            await seen(fault, env, old)
    await assert_served(env)


async def test_the_slots_are_not_taken_before_the_crowd_has_come(
    env: CellEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many slots are in use from the start, by somebody who keeps his in session mode."""
    come_at_once = _Crowd._hold

    async def come_late(crowd: _Crowd) -> None:
        await asyncio.sleep(0.2)
        await come_at_once(crowd)

    monkeypatch.setattr(_Crowd, "_hold", come_late)
    async with await connect(env) as old:
        assert await error_of(old) is None
        async with PoolerExhausted(slots=1).active(env):
            assert isinstance(await error_of_new(env), TimeoutError)
    await assert_served(env)


async def backend_of(connection: Connection) -> int:
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_reconnect_leaves_what_nobody_uses(env: CellEnvironment) -> None:
    async with asyncio.timeout(5):
        connection = await connect(env)
        before = await backend_of(connection)
        async with PoolerReconnect(period_ms=200).active(env) as witness:
            await asyncio.sleep(0.8)
            assert await error_of(connection) is None, "no client notices"
        after = await backend_of(connection)
        await connection.close()
    ended = witness.change["sessions_ended"]
    assert isinstance(ended, int)
    if in_transaction_mode(env):
        assert after != before
        assert ended >= 1
    else:
        assert after == before, "a session keeps its server connection"
    assert isinstance(witness.change["orders"], int)
    assert witness.change["orders"] >= 2
    await assert_served(env)


async def test_no_order_comes_after_its_end(env: CellEnvironment) -> None:
    async with PoolerReconnect(period_ms=50).active(env) as witness:
        await asyncio.sleep(0.2)
    await assert_kept(env, witness)


async def test_no_order_comes_after_a_cancellation(env: CellEnvironment) -> None:
    await assert_kept(env, await cancelled_inside(PoolerReconnect(period_ms=50), env))


async def assert_kept(env: CellEnvironment, witness: Witness) -> None:
    """A client keeps its server connection for longer than PgBouncer takes to leave one, and no order is counted."""
    orders = dict(witness.change)
    await assert_served(env)
    await asyncio.sleep(LEFT_WITHIN_S)  # what the last order was about is over
    async with asyncio.timeout(5):
        connection = await connect(env)
        before = await backend_of(connection)
        await asyncio.sleep(LEFT_WITHIN_S)
        assert await backend_of(connection) == before
        await connection.close()
    assert witness.change == orders


async def test_who_waits_for_a_paused_pooler_is_served_when_it_goes_on(env: CellEnvironment) -> None:
    connection = await connect(env)
    assert await error_of(connection) is None
    await connection.close()
    async with PoolerHalted(order="pause").active(env):
        connection = await connect(env)  # a login is the pooler's own business, once it knows the server
        waiting = asyncio.ensure_future(connection.execute("SELECT 1"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 2.0)
    await connection.close()
    await assert_served(env)


async def test_every_slot_is_taken_and_given_back(env: CellEnvironment) -> None:
    size, before = await env.pgbouncer.slots()
    assert (size, before) == (20 if in_transaction_mode(env) else 60, 0)
    async with PoolerExhausted(slots=3).active(env) as witness:
        assert witness.change == {"slots": 3, "slots_in_use": 3}
        assert await env.pgbouncer.slots() == (3, 3)
        assert env.backends()["g0"] == (), "they are nobody's of the cell"

    async def all_free() -> bool:
        return await env.pgbouncer.slots() == (size, 0)

    await until(all_free)
    await assert_served(env)


async def test_the_supervisor_leaves_a_stopped_pooler_alone(env: CellEnvironment) -> None:
    async with PoolerRestart().active(env):
        assert env.revive() == ""
        assert "PgBouncer is dead" in await env.leftovers()
    assert env.revive() == ""
    await assert_served(env)


async def test_a_halted_pooler_is_a_leftover(env: CellEnvironment) -> None:
    async with PoolerHalted().active(env):
        assert "PgBouncer is paused" in await env.leftovers()
    async with PoolerBlackHole().active(env):
        assert "toxic timeout_downstream between PgBouncer and Postgres" in await env.leftovers()
    await assert_served(env)


@pytest.mark.parametrize("fault", ALL, ids=name_of)
async def test_a_cancellation_inside_a_pooler_fault_heals_as_well(fault: Fault, env: CellEnvironment) -> None:
    session = await connect(env)
    await cancelled_inside(fault, env)
    await session.close()
    await assert_served(env)


@pytest.mark.parametrize("fault", ALL, ids=name_of)
@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.01, 0.03])
async def test_a_cancellation_while_a_pooler_fault_is_installed_heals_as_well(
    fault: Fault, after_s: float, env: CellEnvironment
) -> None:
    await cancelled_while_installed(fault, env, after_s)
    await assert_served(env)


async def test_a_killed_cell_leaves_no_halted_pooler(stack: Stack) -> None:
    """It is a process of the cell's own, which the kernel ends with it; the next cell has another one."""
    skip_without(stack, TRANSACTION)
    read, write = os.pipe()
    cell = os.fork()
    if cell == 0:
        with contextlib.suppress(BaseException):
            asyncio.new_event_loop().run_until_complete(_halt_and_tell(stack, write))
        os._exit(1)
    os.close(write)
    with os.fdopen(read) as told:
        pid = int(await asyncio.wait_for(asyncio.to_thread(told.readline), 10))
    assert start_ticks(pid) is not None
    os.kill(cell, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, cell, 0)

    async def gone() -> bool:
        return start_ticks(pid) is None

    await until(gone)
    async with stack.cell("next", groups=("g0",), pooler=TRANSACTION, needs=NEEDS) as env:
        await assert_served(env)


async def _halt_and_tell(stack: Stack, write: int) -> None:
    cell = stack.cell("killed", groups=("g0",), pooler=TRANSACTION, needs=NEEDS)
    async with cell as env, PoolerHalted().active(env):
        assert isinstance(env.pooler, LocalPooler)
        os.write(write, f"{env.pooler.pooler.server.child.pid}\n".encode())
        await asyncio.sleep(60)


async def test_a_cell_without_a_pooler_says_so(stack: Stack) -> None:
    with pytest.raises(MissingComponent, match="no pooler") as raised:
        async with stack.cell("none", groups=("g0",), needs=NEEDS):
            pytest.fail("there is nothing to damage")
    assert "pgbouncer_session" in raised.value.fix
    async with stack.cell("plain", groups=("g0",)) as plain:
        with pytest.raises(MissingComponent, match="no PgBouncer") as raised:
            await plain.pgbouncer.stop()
        assert "POOLER_PROCESS" in raised.value.fix
        with pytest.raises(MissingComponent, match="no proxy") as raised:
            await plain.link.toxics()
        assert "POOLER_LINK" in raised.value.fix


async def test_what_a_new_pooler_would_forget_is_refused_beside_its_restart() -> None:
    for fault, name in (
        (PoolerHalted(), "service"),
        (PoolerHalted(order="kill"), "service"),
        (PoolerExhausted(), "slots"),
    ):
        with pytest.raises(UsageError, match=f"heals the pooler's {name} of the other"):
            check_plan((Window(PoolerRestart(), 0.0, 2.0), Window(fault, 1.0, 3.0)))
    check_plan((Window(PoolerHalted(), 0.0, 2.0), Window(PoolerExhausted(), 1.0, 3.0)))
