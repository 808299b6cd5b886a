"""Every fault of the server, on a real one: visible inside its window, gone after it, gone after a cancellation in it.

The faults that can share a server do: it goes through all of them, one after the other, and has to come out of each as
it was.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import errors
from psycopg.rows import dict_row

from harness.core.environment import Capability
from harness.core.errors import UsageError
from harness.core.fault import Fault, Window, Witness, check_plan, fault_to_json
from harness.environments.cell import CellEnvironment
from harness.environments.small_disk import room_bytes
from harness.environments.stack import Stack
from harness.faults.connection_limit import ConnectionLimit
from harness.faults.crash import Crash
from harness.faults.disk_full import DiskFull
from harness.faults.failover import Failover
from harness.faults.idle_session_timeout import IdleSessionTimeout
from harness.faults.lock_held import LockHeld
from harness.faults.password_rotated import PasswordRotated
from harness.faults.pause import Pause
from harness.faults.read_only import ReadOnly
from harness.faults.restart import Restart
from harness.faults.statement_timeout import StatementTimeout
from harness.faults.terminate_backends import TerminateBackends
from harness.faults.too_many_connections import TooManyConnections
from tests.faults.cancelling import cancelled_inside, cancelled_while_installed, moments
from tests.requirements import skip_without

Connection = psycopg.AsyncConnection[Any]

SHARED: Sequence[Fault] = (
    TerminateBackends(which="idle"),
    TerminateBackends(which="busy"),
    TerminateBackends(which="all"),
    IdleSessionTimeout(timeout_ms=50),
    Restart(),
    Crash(how="kill"),
    Crash(how="immediate"),
    Pause(what="server"),
    Pause(what="sessions"),
    TooManyConnections(),
    TooManyConnections(leave=12),
    ConnectionLimit(limit=0),
    ReadOnly(),
    StatementTimeout(timeout_ms=50),
    LockHeld(),
    LockHeld(mode="exclusive"),
    PasswordRotated(),
)
FAILOVERS: Sequence[Fault] = (Failover(rerouted="at_once"), Failover(rerouted="at_the_end"))

#: Of a fault that strikes again and again.
PERIOD_MS = 50
WRITE = "INSERT INTO checkpoint_migrations VALUES ((SELECT max(v) + 1 FROM checkpoint_migrations))"
READ = "SELECT count(*) FROM checkpoints"
#: Waits for whoever holds a lock on that table, of either mode.
LOCKING = "DELETE FROM checkpoints WHERE false"
OTHERS = """
SELECT application_name, state, query FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
#: A checkpoint that needs a page of its own.
LARGE = """
INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)
SELECT 't', 'c', i::text, 'x', decode(repeat(md5(i::text), 4000), 'hex') FROM generate_series(1, 200) i
"""

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def env(stack: Stack) -> AsyncIterator[CellEnvironment]:
    """One cell with a server of its own, for all faults after which it has to be as before."""
    async with stack.cell("laws", groups=("g0",), needs=frozenset({Capability.SERVER_PROCESS})) as environment:
        yield environment


@pytest_asyncio.fixture(loop_scope="module")
async def switched(stack: Stack) -> AsyncIterator[CellEnvironment]:
    """A server with a standby: a failover is for good, so each has its own."""
    async with stack.cell("laws", groups=("g0",), needs=frozenset({Capability.SERVER_STANDBY})) as environment:
        yield environment


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def small(stack: Stack) -> AsyncIterator[CellEnvironment]:
    """A server whose data folder is on a small disk."""
    skip_without(stack, Capability.SMALL_DISK)
    async with stack.cell("laws", groups=("g0",), needs=frozenset({Capability.SMALL_DISK})) as environment:
        yield environment


async def connect(env: CellEnvironment) -> Connection:
    return await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True)


async def refusal(env: CellEnvironment) -> str:
    """What a new connection is told; empty if it is served."""
    try:
        connection = await connect(env)
    except psycopg.OperationalError as error:
        return str(error)
    await connection.close()
    return ""


async def error_of(connection: Connection, query: str, limit_s: float = 2.0) -> BaseException | None:
    """What a statement ends in: None if it works, TimeoutError if it has no end within ``limit_s``."""
    task = asyncio.ensure_future(connection.execute(query))
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    if done:
        return task.exception()
    for _ in range(2):
        task.cancel()
        await asyncio.wait({task}, timeout=0.25)
    return TimeoutError()


def hang_up(connection: Connection) -> None:
    """End it as a client does that is gone: psycopg, when it is cancelled, asks the server to end the statement."""
    with socket.socket(fileno=os.dup(connection.fileno())) as link:
        link.shutdown(socket.SHUT_RDWR)


async def assert_served(env: CellEnvironment) -> None:
    """A new connection reads and writes at once, and nothing of a fault stands in the configuration."""
    began_s = time.monotonic()
    connection = await connect(env)
    for query in (READ, LOCKING, WRITE, "SELECT pg_sleep(0.15)"):
        assert await error_of(connection, query) is None
    assert time.monotonic() - began_s < 1.5
    await connection.close()
    async with await psycopg.AsyncConnection.connect(env.admin.conninfo(application_name="pp-admin")) as admin:
        left = await admin.execute(
            "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf' AND name <> "
            "'primary_conninfo' UNION ALL SELECT 'another service' FROM pg_stat_activity "
            "WHERE application_name = 'another service' UNION ALL SELECT 'connection limit' FROM pg_database "
            "WHERE datname = current_database() AND datconnlimit <> -1"
        )
        assert await left.fetchall() == []


async def seen(fault: Fault, env: CellEnvironment, old: Connection) -> None:
    """Inside the window: what an old connection and a new one meet."""
    if isinstance(fault, Restart):
        assert isinstance(await error_of(old, READ), psycopg.OperationalError)
        assert await refusal(env)
    elif isinstance(fault, Crash):
        assert isinstance(await error_of(old, READ), psycopg.OperationalError)
        assert re.search("is (starting up|not yet accepting connections)", await refusal(env))
    elif isinstance(fault, TooManyConnections):
        assert isinstance(await error_of(old, READ), psycopg.OperationalError)
        left, words = await _left(env)
        assert left == (2 if fault.leave else 0), words  # ten are kept for superusers
        assert ("slots are reserved" if fault.leave else "too many clients already") in words
    elif isinstance(fault, ConnectionLimit):
        assert isinstance(await error_of(old, READ), psycopg.OperationalError)
        assert "too many connections for database" in await refusal(env)
    elif isinstance(fault, PasswordRotated):
        assert isinstance(await error_of(old, READ), psycopg.OperationalError)
        assert "password authentication failed" in await refusal(env)
    elif isinstance(fault, IdleSessionTimeout):
        assert await error_of(old, READ) is None
        await asyncio.sleep(0.3)
        assert "idle-session timeout" in str(await error_of(old, READ))
        assert not await refusal(env)
    elif isinstance(fault, ReadOnly):
        assert isinstance(await error_of(old, WRITE), errors.ReadOnlySqlTransaction)
        assert await error_of(old, READ) is None
    elif isinstance(fault, StatementTimeout):
        assert isinstance(await error_of(old, "SELECT pg_sleep(1)"), errors.QueryCanceled)
        assert await error_of(old, "SELECT 1") is None
    else:
        assert isinstance(fault, LockHeld)
        await _lock_seen(fault, env, old)


async def _left(env: CellEnvironment) -> tuple[int, str]:
    """How many connections there are to be had, and what the next one is told."""
    connections = []
    while not (words := await refusal(env)):
        connections.append(await connect(env))
    for connection in connections:
        await connection.close()
    return len(connections), words


async def _lock_seen(fault: LockHeld, env: CellEnvironment, old: Connection) -> None:
    assert await error_of(old, "SELECT 1") is None
    if fault.mode == "exclusive":
        assert await error_of(old, READ) is None
    other = await connect(env)
    assert isinstance(await error_of(other, "DELETE FROM checkpoints", limit_s=0.2), TimeoutError)
    await other.close()


def name_of(fault: Fault) -> str:
    return "-".join(str(value) for value in fault_to_json(fault).values())


SIMPLE = [fault for fault in SHARED if not isinstance(fault, Pause | TerminateBackends)]


@pytest.mark.parametrize("fault", SIMPLE, ids=name_of)
async def test_a_server_fault_is_seen_inside_its_window_and_gone_after_it(fault: Fault, env: CellEnvironment) -> None:
    old = await connect(env)
    assert await error_of(old, READ) is None
    async with fault.active(env) as witness:
        assert witness.change
        await seen(fault, env, old)
    await old.close()
    await assert_served(env)


@pytest.mark.parametrize("which", ["idle", "busy", "all"])
async def test_backends_are_ended_as_ordered_and_new_ones_served(which: str, env: CellEnvironment) -> None:
    idle, busy = await connect(env), await connect(env)
    await idle.execute("SELECT 1")
    working = asyncio.ensure_future(busy.execute("SELECT pg_sleep(0.5)"))
    await asyncio.sleep(0.1)
    async with TerminateBackends(which=which, period_ms=60_000).active(env) as witness:
        assert witness.change == {"sessions_ended": 2 if which == "all" else 1, "strikes": 1}
        assert not await refusal(env), "only connections are lost"
        await asyncio.wait({working})
        ended = {"idle": await error_of(idle, "SELECT 1") is not None, "busy": working.exception() is not None}
    assert ended == {"idle": which != "busy", "busy": which != "idle"}
    for connection in (idle, busy):
        await connection.close()
    await assert_served(env)


async def test_backends_are_ended_again_and_again(env: CellEnvironment) -> None:
    async with TerminateBackends(period_ms=PERIOD_MS).active(env) as witness:
        for _ in range(3):
            connection = await connect(env)
            await struck_again(witness)
            assert await error_of(connection, "SELECT 1") is not None
            await connection.close()
        assert witness.change["sessions_ended"] == 3
    await assert_nobody_is_ended(env, witness)


async def test_no_backend_is_ended_after_a_cancellation(env: CellEnvironment) -> None:
    witness = await cancelled_inside(TerminateBackends(period_ms=PERIOD_MS), env)
    await assert_nobody_is_ended(env, witness)


async def struck_again(witness: Witness) -> None:
    """Two beats more: the first of them may have begun before."""
    enough = int(str(witness.change["strikes"])) + 2
    stop_s = time.monotonic() + 5
    while int(str(witness.change["strikes"])) < enough:
        assert time.monotonic() < stop_s
        await asyncio.sleep(0.01)


async def assert_nobody_is_ended(env: CellEnvironment, witness: Witness) -> None:
    """A session outlives many beats, and no strike is counted meanwhile."""
    struck = dict(witness.change)
    session = await connect(env)
    await asyncio.sleep(10 * PERIOD_MS / 1000)  # one may take longer than it should on a busy machine
    row = await (await session.execute("SELECT pg_backend_pid()")).fetchone()
    assert row == (session.info.backend_pid,)
    assert witness.change == struck
    await session.close()


@pytest.mark.parametrize("what", ["server", "sessions"])
async def test_what_is_paused_answers_late_and_does_its_work(what: str, env: CellEnvironment) -> None:
    old = await connect(env)
    rows = await (await old.execute("SELECT max(v) FROM checkpoint_migrations")).fetchone()
    async with Pause(what=what).active(env) as witness:
        assert int(str(witness.change["processes"])) >= 1
        waiting = asyncio.ensure_future(old.execute(WRITE))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        if what == "sessions":
            assert not await refusal(env), "new connections are served"
    await asyncio.wait_for(waiting, 2.0)
    after = await (await old.execute("SELECT max(v) FROM checkpoint_migrations")).fetchone()
    assert rows is not None
    assert after == (rows[0] + 1,), "what was sent meanwhile is carried out late"
    await old.close()
    await assert_served(env)


async def test_what_a_client_gave_up_on_lands_after_the_pause(env: CellEnvironment) -> None:
    old = await connect(env)
    (before,) = await (await old.execute("SELECT max(v) FROM checkpoint_migrations")).fetchone() or (0,)
    async with Pause().active(env):
        waiting = asyncio.ensure_future(old.execute(WRITE))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        hang_up(old)
        await asyncio.wait({waiting}, timeout=2.0)
        assert isinstance(waiting.exception(), psycopg.OperationalError)
        await old.close()
    new = await connect(env)
    stop_s = time.monotonic() + 2
    while (row := await (await new.execute("SELECT max(v) FROM checkpoint_migrations")).fetchone()) == (before,):
        assert time.monotonic() < stop_s, "the abandoned INSERT never landed"
        await asyncio.sleep(0.01)
    assert row == (before + 1,)
    await new.close()


@pytest.mark.parametrize("fault", FAILOVERS, ids=name_of)
async def test_a_failover_leaves_old_connections_with_the_old_primary(
    fault: Failover, switched: CellEnvironment
) -> None:
    old = await connect(switched)
    assert await error_of(old, WRITE) is None
    before = switched.admin.port
    async with fault.active(switched) as witness:
        assert witness.change["promoted"] is True
        assert isinstance(await error_of(old, WRITE), errors.ReadOnlySqlTransaction)
        new = await connect(switched)
        error = await error_of(new, WRITE)
        assert (error is None) is (fault.rerouted == "at_once")
        await new.close()
    assert switched.admin.port != before, "the judge reads the new primary"
    assert await error_of(old, READ) is None
    assert isinstance(await error_of(old, WRITE), errors.ReadOnlySqlTransaction), "the old primary lives on"
    assert set(switched.backends()["g0"]) == {old.info.backend_pid}, "connections to both servers are counted"
    await old.close()
    await assert_served(switched)


async def test_a_full_disk_refuses_what_needs_room_and_goes_on_afterwards(small: CellEnvironment) -> None:
    old = await connect(small)
    async with DiskFull().active(small) as witness:
        assert witness.change["room_bytes"] == 0
        assert isinstance(await error_of(old, LARGE), errors.DiskFull)
        assert await error_of(old, READ) is None
    assert await error_of(old, LARGE, limit_s=5.0) is None
    await old.close()
    await assert_served(small)


@pytest.mark.parametrize("fault", SHARED, ids=name_of)
async def test_a_cancellation_inside_a_server_fault_heals_as_well(fault: Fault, env: CellEnvironment) -> None:
    session = await connect(env)
    await cancelled_inside(fault, env)
    await session.close()
    await assert_served(env)


async def test_a_cancellation_inside_a_failover_brings_it_to_its_end(switched: CellEnvironment) -> None:
    await cancelled_inside(Failover(rerouted="at_the_end"), switched)
    await assert_served(switched)


async def test_a_cancellation_inside_a_full_disk_heals_as_well(small: CellEnvironment) -> None:
    await cancelled_inside(DiskFull(), small)
    await assert_served(small)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: what only that would close stays open."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def assert_nobody_stays(env: CellEnvironment) -> None:
    """The server has no client but the one that asks, or soon has none."""
    async with await psycopg.AsyncConnection.connect(env.admin.conninfo(), autocommit=True) as admin:
        stop_s = time.monotonic() + 2
        while left := await (await admin.execute(OTHERS)).fetchall():
            assert time.monotonic() < stop_s, left
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", SHARED, ids=name_of)
@pytest.mark.parametrize("after_s", moments(0.01, 0.0, 0.03, 0.06))
async def test_a_cancellation_while_it_is_installed_heals_as_well(
    fault: Fault, after_s: float, env: CellEnvironment
) -> None:
    session = await connect(env)  # so that there is one to stop
    with uncollected():
        await cancelled_while_installed(fault, env, after_s)
        await session.close()
        await assert_served(env)
        await assert_nobody_stays(env)


@pytest.mark.parametrize("after_s", moments(0.1, 0.05, 0.2, 0.3))
async def test_a_crowd_that_is_still_growing_leaves(after_s: float, env: CellEnvironment) -> None:
    with uncollected():
        before = sockets()
        await cancelled_while_installed(TooManyConnections(), env, after_s)
        assert sockets() == before, "what was only just being connected was closed as well"
        await assert_nobody_stays(env)
    await assert_served(env)


def sockets() -> int:
    """How many this process has open."""
    links = [entry.name for entry in os.scandir("/proc/self/fd")]
    return sum(link.startswith("socket:") for link in map(_target, links))


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # that of the listing itself
        return ""


@pytest.mark.parametrize("after_s", [0.0, 0.0003, 0.001, 0.003, 0.01, 0.03])
async def test_a_disk_that_is_still_being_filled_is_freed(after_s: float, small: CellEnvironment) -> None:
    async with await psycopg.AsyncConnection.connect(small.admin.conninfo()) as admin:
        (folder,) = await (await admin.execute("SHOW data_directory")).fetchone() or ("",)
    disk = Path(folder)
    before = room_bytes(disk)
    await cancelled_while_installed(DiskFull(), small, after_s)
    await asyncio.sleep(0.2)  # as long as filling it takes
    assert room_bytes(disk) > before / 2
    assert not any("ballast" in name for name in os.listdir(folder))
    await assert_served(small)


async def test_with_tls_the_message_of_the_field_appears(stack: Stack) -> None:
    """The text of langgraph 5675: it needs TLS, a session that the server ended, and the saver's pipeline."""
    skip_without(stack, Capability.POSTGRES_TLS)
    async with stack.cell("tls", groups=("g0",), needs=frozenset({Capability.POSTGRES_TLS})) as env:
        old = await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True, row_factory=dict_row)
        row = await (await old.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).fetchone()
        assert row == {"ssl": True}
        config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        async with TerminateBackends().active(env):
            with pytest.raises(psycopg.OperationalError, match="SSL connection has been closed unexpectedly"):
                await AsyncPostgresSaver(old).aput(config, empty_checkpoint(), {}, {})
        await old.close()
        await assert_served(env)


async def test_two_crowds_at_a_time_are_refused() -> None:
    with pytest.raises(UsageError, match="the crowd of connections of the other"):
        check_plan((Window(TooManyConnections(), 0.0, 2.0), Window(TooManyConnections(leave=12), 1.0, 3.0)))
    check_plan((Window(TooManyConnections(), 0.0, 2.0), Window(TooManyConnections(leave=12), 2.0, 3.0)))
