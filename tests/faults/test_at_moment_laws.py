"""A hit at a moment of the protocol, on a real Postgres, with the saver and its pipeline: seen inside its window, gone
after it and after a cancellation in it, and certain in what it leaves behind.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, LiteralString

import psycopg
import pytest
import pytest_asyncio
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row

from harness.core.environment import Capability
from harness.core.errors import ComponentError, HealError, MissingComponent, UsageError
from harness.core.fault import Fault, Window, check_plan
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.faults.at_moment import AtMoment
from tests.faults.cancelling import cancelled_while_installed
from tests.requirements import skip_without

Connection = psycopg.AsyncConnection[DictRow]

MOMENTS = ("parse", "insert", "sync", "commit")
ACTIONS = ("cut", "stall", "drop")
#: What each moment leaves of a save whose connection ends there.
STORED = {"parse": False, "insert": False, "sync": False, "commit": True}
STALL_MS = 300

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
threads = (f"thread-{number}" for number in itertools.count())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def env(stack: Stack) -> AsyncIterator[CellEnvironment]:
    """One cell with a middle, which has to come out of every test as it was."""
    async with stack.cell("laws", groups=("g0",), needs=frozenset({Capability.PROTOCOL})) as environment:
        yield environment
        assert await environment.leftovers() == ()


async def connect(env: CellEnvironment, **extra: Any) -> Connection:
    return await psycopg.AsyncConnection.connect(
        env.conninfo("g0"), autocommit=True, prepare_threshold=0, row_factory=dict_row, **extra
    )


async def save(connection: Connection, thread: str) -> None:
    """One checkpoint with two blobs, in the saver's own pipeline."""
    config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    versions: dict[str, Any] = {"messages": "1", "steps": "1"}
    checkpoint = {
        **empty_checkpoint(),
        "channel_values": {"messages": ["a"], "steps": ["b"]},
        "channel_versions": versions,
    }
    await AsyncPostgresSaver(connection).aput(config, checkpoint, {}, versions)  # type: ignore[arg-type]


async def stored(env: CellEnvironment, thread: str) -> tuple[int, int]:
    """How many checkpoints and blobs of ``thread`` there are, asked past everything."""
    count = "(SELECT count(*) FROM {} WHERE thread_id = %s)"
    query = f"SELECT {count.format('checkpoints')}, {count.format('checkpoint_blobs')}"
    async with await psycopg.AsyncConnection.connect(env.admin.conninfo(application_name="pp-admin")) as admin:
        row = await (await admin.execute(query, (thread, thread))).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def assert_healed(env: CellEnvironment, connection: Connection | None = None) -> None:
    """Nothing is armed, and a save over an old connection or a new one is as fast as ever and stored."""
    assert await env.middle.armed() == ()
    thread = next(threads)
    own = connection or await connect(env)
    began_s = time.monotonic()
    await save(own, thread)
    assert time.monotonic() - began_s < 1.0
    assert await stored(env, thread) == (1, 2)
    await own.close()


def hits_of(change: Mapping[str, Any]) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = change["hits"]
    assert change["struck"] == len(hits)
    return hits


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", ACTIONS)
async def test_a_hit_is_seen_inside_its_window_and_gone_after_it(
    moment: str, action: str, env: CellEnvironment
) -> None:
    connection, other, thread = await connect(env), await connect(env), next(threads)
    began_s, pid = env.clock.now_s(), connection.info.backend_pid
    async with AtMoment(moment=moment, action=action, stall_ms=STALL_MS).active(env) as witness:
        assert witness.change == {"armed": f"{moment} of checkpoints"}
        saving = asyncio.ensure_future(save(connection, thread))
        done, _ = await asyncio.wait({saving}, timeout=2.0 if action == "cut" else 0.15)
        assert bool(done) is (action == "cut")
        await save(other, next(threads))  # times=1: nobody else is hit, nor held up
        done, _ = await asyncio.wait({saving}, timeout=0.5 if action == "drop" else 2.0)
        assert bool(done) is (action != "drop"), "a stall is over by itself, a drop only when the window ends"
    await asyncio.wait({saving}, timeout=2.0)
    (hit,) = hits_of(witness.change)
    assert hit["backend_pid"] == pid
    assert hit["client"] == env.application_name("g0")
    assert "checkpoints" in hit["message"]
    assert began_s < hit["time_s"] < env.clock.now_s(), "on the cell's clock"
    if action == "stall":
        assert saving.exception() is None
        assert await stored(env, thread) == (1, 2)
        await assert_healed(env, connection)
    else:
        assert isinstance(saving.exception(), psycopg.OperationalError)
        assert await stored(env, thread) == ((1, 2) if STORED[moment] else (0, 0))
        await connection.close()
    await assert_healed(env, other)
    await assert_healed(env)


async def test_a_lost_answer_to_a_commit_is_in_doubt_every_time(env: CellEnvironment) -> None:
    """The error is the same in word and class; what was stored differs, and it is known beforehand which."""
    errors: dict[str, set[str]] = {}
    for moment, is_stored in (("commit", (1, 2)), ("sync", (0, 0))):
        errors[moment] = set()
        async with AtMoment(moment=moment, times=1000).active(env) as witness:
            tried = [next(threads) for _ in range(30)]
            for thread in tried:
                connection = await connect(env)
                with pytest.raises(psycopg.OperationalError) as raised:
                    await save(connection, thread)
                errors[moment].add(f"{type(raised.value).__name__}: {raised.value}")
                await connection.close()
        assert len(hits_of(witness.change)) == 30
        assert [await stored(env, thread) for thread in tried] == [is_stored] * 30
    assert errors["commit"] & errors["sync"], "nothing in the error tells the one from the other"
    await assert_healed(env)


async def test_the_nth_insert_is_hit_and_no_other(env: CellEnvironment) -> None:
    connection = await connect(env)
    fault = AtMoment(moment="insert", table="checkpoint_blobs", nth=3, times=1)
    async with fault.active(env) as witness:
        await save(connection, next(threads))  # two blobs
        with pytest.raises(psycopg.OperationalError):
            await save(connection, next(threads))
        await connection.close()
        again = await connect(env)
        for _ in range(4):
            await save(again, next(threads))
    assert (witness.change["seen"], witness.change["struck"]) == (3 + 8, 1)
    await assert_healed(env, again)


async def test_a_committed_transaction_is_hit_at_its_commit_alone(env: CellEnvironment) -> None:
    """Where there is no pipeline, the saver opens a transaction; its statements are answered one by one."""
    connection, thread = await connect(env), next(threads)
    async with AtMoment(moment="commit").active(env) as witness:
        with pytest.raises(psycopg.OperationalError):
            await insert_and(connection, thread, "COMMIT")
    await connection.close()
    (hit,) = hits_of(witness.change)
    assert hit["message"] == "answer to the commit of INSERT INTO checkpoints"
    assert await stored(env, thread) == (1, 0)
    connection, thread = await connect(env), next(threads)
    async with AtMoment(moment="commit").active(env) as witness:
        await insert_and(connection, thread, "ROLLBACK")
    assert witness.change["struck"] == 0, "a rollback is no commit"
    assert await stored(env, thread) == (0, 0)
    await assert_healed(env, connection)


async def insert_and(connection: Connection, thread: str, end: LiteralString) -> None:
    """A transaction that inserts one checkpoint, outside any pipeline: each statement is answered by itself."""
    await connection.execute("BEGIN")
    insert = "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES (%s, 'c', '{}')"
    assert (await connection.execute(insert, (thread,))).rowcount == 1
    await connection.execute(end)


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_cancellation_inside_it_heals_as_well(action: str, env: CellEnvironment) -> None:
    inside = asyncio.Event()

    async def hold() -> None:
        async with AtMoment(moment="insert", action=action, stall_ms=60_000, times=1000).active(env):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(hold())
    await asyncio.wait_for(inside.wait(), 10)
    connection, thread = await connect(env), next(threads)
    saving = asyncio.ensure_future(save(connection, thread))
    await asyncio.wait({saving}, timeout=2.0 if action == "cut" else 0.3)
    assert saving.done() is (action == "cut")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # twice: healing must not be cancelled either
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()
    await asyncio.wait({saving}, timeout=2)
    assert (saving.exception() is None) is (action == "stall"), "what was stalled goes on, what was dropped is cut"
    assert await stored(env, thread) == ((1, 2) if action == "stall" else (0, 0))
    await connection.close()
    await assert_healed(env)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01])
async def test_a_cancellation_while_it_is_armed_heals_as_well(after_s: float, env: CellEnvironment) -> None:
    await cancelled_while_installed(AtMoment(), env, after_s)
    await assert_healed(env)


async def test_it_hits_what_comes_through_a_pooler_too(stack: Stack) -> None:
    skip_without(stack, Capability.PGBOUNCER_TRANSACTION)
    needs = frozenset({Capability.PROTOCOL})
    async with stack.cell("pooled", groups=("g0",), pooler=Capability.PGBOUNCER_TRANSACTION, needs=needs) as env:
        for moment in ("commit", "sync"):
            connection, thread = await connect(env), next(threads)
            connection.prepare_threshold = None
            async with AtMoment(moment=moment).active(env) as witness:
                with pytest.raises(psycopg.OperationalError):
                    await save(connection, thread)
            assert len(hits_of(witness.change)) == 1
            assert await stored(env, thread) == ((1, 2) if moment == "commit" else (0, 0))
            await connection.close()


async def test_under_tls_it_hits_nothing_and_harms_nothing(stack: Stack) -> None:
    skip_without(stack, Capability.POSTGRES_TLS)
    needs = frozenset({Capability.POSTGRES_TLS, Capability.PROTOCOL})
    async with stack.cell("tls", groups=("g0",), needs=needs) as env:
        connection, thread = await connect(env), next(threads)
        row = await (await connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).fetchone()
        assert row == {"ssl": True}
        async with AtMoment(table="any", times=1000).active(env) as witness:
            await save(connection, thread)
        assert (witness.change["seen"], witness.change["struck"]) == (0, 0)
        assert await stored(env, thread) == (1, 2)
        await connection.close()


async def test_a_statement_is_cancelled_through_the_middle(env: CellEnvironment) -> None:
    connection = await connect(env)
    waiting = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.1)
    await connection.cancel_safe(timeout=2)
    await asyncio.wait({waiting}, timeout=2)
    assert isinstance(waiting.exception(), psycopg.errors.QueryCanceled)
    await assert_healed(env, connection)


async def test_a_middle_that_died_is_told_and_cannot_be_taken_for_healed(stack: Stack) -> None:
    async with stack.cell("dead", groups=("g0",), needs=frozenset({Capability.PROTOCOL})) as env:
        with pytest.raises(
            HealError, match="the strike commit of checkpoints would not heal: the middle does not obey"
        ):
            async with AtMoment().active(env):
                await asyncio.to_thread(env.middle.stop)
        with pytest.raises(ComponentError, match="the middle does not obey"):
            await env.leftovers()


async def test_a_cell_that_did_not_ask_has_no_middle_and_no_hop_more(stack: Stack, env: CellEnvironment) -> None:
    async with stack.cell("plain", groups=("g0",)) as plain:
        with pytest.raises(MissingComponent, match="nothing that understands Postgres's messages") as raised:
            _ = plain.middle
        assert "PROTOCOL" in raised.value.fix
        assert Capability.PROTOCOL not in plain.capabilities
        assert "middle" not in plain.logs
    assert env.logs["middle"].read_text() == "", "it had nothing to complain of"


async def test_two_that_would_be_one_are_refused_when_they_overlap() -> None:
    same: tuple[Fault, Fault] = (AtMoment(action="cut"), AtMoment(action="drop"))
    with pytest.raises(UsageError, match="heals the strike commit of checkpoints of the other"):
        check_plan([Window(fault, 0.0, 1.0) for fault in same])
    check_plan([Window(AtMoment(moment=moment), 0.0, 1.0) for moment in MOMENTS])
