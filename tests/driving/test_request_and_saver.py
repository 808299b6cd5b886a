"""Requests and the recording saver, on a real Postgres."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.history import OpType
from harness.core.pool import Answered
from harness.driving.final_reads import final_reads
from harness.driving.recorder import CURRENT_CALL
from harness.driving.saver import RecordingSaver, queued_calls, recording
from harness.environments.cell import CellEnvironment
from tests.driving.rows import recorder
from tests.driving.small_agent import THREAD, SmallAgent, action, replica_on, request_on

pytestmark = pytest.mark.slow


async def test_a_turn_is_answered_recorded_and_read_back_by_both_readers(cell_env: CellEnvironment) -> None:
    record, rows = recorder()
    async with replica_on(cell_env, record) as replica:
        for n in (1, 2):
            reply = await request_on(replica, record, action(n=n))()
        assert reply == Answered("echo hello 2", (f"{THREAD}/t1", f"{THREAD}/t2"))
        restored = await request_on(replica, record, action("restore"))()
    assert isinstance(restored, Answered)
    assert restored.turns == reply.turns
    assert len(rows.of("aput", OpType.INVOKE)) == len(rows.of("aput", OpType.OK)) == 2 * 4
    assert all(op.value["thread"] == THREAD for op in rows.of("aput", OpType.INVOKE))
    events = [(op.value["event"], op.value["generation"]) for op in rows.of("pool")]
    assert events == [("open", 1), ("close", 1)]
    assert "replica_on" in str(rows.of("pool")[1].value["by"]), "the row says who closed it"

    used = {THREAD: [f"{THREAD}/t1", f"{THREAD}/t2"]}
    facts = await final_reads(cell_env.admin.conninfo(), {THREAD: "SmallAgent"}, {"SmallAgent": SmallAgent}, used)
    assert facts.complete, facts.problems
    thread = facts.threads[THREAD]
    assert thread.turns == thread.sql_turns == thread.answers == thread.sql_answers == reply.turns
    assert thread.sql_exact, "plain SQL takes the messages apart without LangGraph"
    assert (thread.waiting, thread.sql_waiting, thread.missing_blobs) == ((), 0, 0)
    assert set(thread.pending_turns) == set(reply.turns)
    assert [node.step for node in thread.tree] == [-1, 0, 1, 2, 3, 4, 5, 6]
    assert [node.parent for node in thread.tree] == [None, *(node.id for node in thread.tree[:-1])]
    assert {node.source for node in thread.tree} == {"input", "loop"}
    assert (thread.forks, thread.orphan_writes, thread.dangling_parents, thread.checkpoints) == (0, 0, 0, 8)
    assert facts.table_threads == (THREAD,)


async def test_the_final_reads_tell_a_turn_that_a_fork_hid_from_one_that_never_was(cell_env: CellEnvironment) -> None:
    record, _ = recorder()
    async with replica_on(cell_env, record) as replica:
        for n in (1, 2, 3):
            await request_on(replica, record, action(n=n))()
        fork = request_on(replica, record, action("fork", target=f"{THREAD}/t3"))
        reply = await fork()
        again = await fork.finish()
    assert reply == again == Answered("", (f"{THREAD}/t1", f"{THREAD}/t2"))
    used = {THREAD: [f"{THREAD}/t{n}" for n in (1, 2, 3, 4)]}
    facts = await final_reads(cell_env.admin.conninfo(), {THREAD: "SmallAgent"}, {"SmallAgent": SmallAgent}, used)
    thread = facts.threads[THREAD]
    assert thread.turns == thread.sql_turns == (f"{THREAD}/t1", f"{THREAD}/t2")
    assert f"{THREAD}/t3" in thread.history_turns
    assert f"{THREAD}/t4" not in thread.history_turns
    assert thread.forks == 1
    held = [node.turn.rpartition("/")[2] for node in thread.tree]
    assert held[-1] == "t2", "the tip is the fork"
    assert "t3" in held, "the tree says which checkpoint holds the turn that is hidden"


@pytest.mark.parametrize("parent", [None, "never-stored"])
async def test_older_checkpoints_are_looked_at_where_one_strayed_in(
    cell_env: CellEnvironment, parent: str | None
) -> None:
    record, _ = recorder()
    async with replica_on(cell_env, record) as replica:
        await request_on(replica, record, action())()

    async def held() -> list[str]:
        admin, used = cell_env.admin.conninfo(), {THREAD: [f"{THREAD}/t1"]}
        facts = await final_reads(admin, {THREAD: "SmallAgent"}, {"SmallAgent": SmallAgent}, used)
        assert facts.complete, facts.problems
        return [node.turn for node in facts.threads[THREAD].tree]

    assert set(await held()) == {""}, "nothing is odd, so nobody looked"
    async with await psycopg.AsyncConnection.connect(cell_env.admin.conninfo(), autocommit=True) as admin:
        await admin.execute(
            """INSERT INTO checkpoints SELECT thread_id, checkpoint_ns, '00-strayed', %s, type, checkpoint, metadata
            FROM checkpoints ORDER BY checkpoint_id LIMIT 1""",
            (parent,),
        )
    assert f"{THREAD}/t1" in await held()


async def test_a_deleted_thread_is_gone(cell_env: CellEnvironment) -> None:
    record, _ = recorder()
    async with replica_on(cell_env, record) as replica:
        await request_on(replica, record, action())()
        await request_on(replica, record, action("delete"))()
    used = {THREAD: [f"{THREAD}/t1"]}
    facts = await final_reads(cell_env.admin.conninfo(), {THREAD: "SmallAgent"}, {"SmallAgent": SmallAgent}, used)
    assert facts.threads[THREAD].exists is False
    assert facts.table_threads == ()


async def test_final_reads_that_fail_are_told_and_prove_nothing(cell_env: CellEnvironment) -> None:
    wrong = cell_env.admin.conninfo(dbname="not_there")
    facts = await final_reads(wrong, {THREAD: "SmallAgent"}, {"SmallAgent": SmallAgent}, {})
    assert not facts.complete
    assert "not_there" in facts.problems[0]


async def test_a_second_attempt_waits_until_the_first_is_dead(cell_env: CellEnvironment) -> None:
    record, rows = recorder()
    async with replica_on(cell_env, record) as replica:
        assert isinstance(replica.agent, SmallAgent)
        replica.agent.slow_s = 30.0
        request = request_on(replica, record, action())
        first = asyncio.ensure_future(request())
        await asyncio.sleep(0.3)
        replica.agent.slow_s = 0.0
        reply = await asyncio.wait_for(request.finish(), 5)
        assert first.done()
        assert first.cancelled()
        assert request.settled
    assert isinstance(reply, Answered)
    assert reply.turns == (f"{THREAD}/t1",)
    ends = [(op.type, op.f) for op in rows.of("attempt")]
    assert ends == [
        (OpType.INVOKE, "attempt"),
        (OpType.INFO, "attempt"),  # dead before the second begins
        (OpType.INVOKE, "attempt"),
        (OpType.OK, "attempt"),
    ]


async def test_settle_ends_an_attempt_from_another_loop(cell_env: CellEnvironment) -> None:
    record, _ = recorder()
    async with replica_on(cell_env, record) as replica:
        assert isinstance(replica.agent, SmallAgent)
        replica.agent.slow_s = 30.0
        request = request_on(replica, record, action())
        first = asyncio.ensure_future(request())
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(lambda: asyncio.run(request.settle()))
        await asyncio.wait({first}, timeout=1)
        assert first.cancelled()


async def test_the_recording_saver_is_an_instance_of_what_it_wraps_and_passes_the_rest_through(
    cell_env: CellEnvironment,
) -> None:
    record, _ = recorder()
    async with replica_on(cell_env, record) as replica:
        assert isinstance(replica.checkpointer, AsyncPostgresSaver)
        assert isinstance(replica.checkpointer, BaseCheckpointSaver)
        saver: Any = replica.checkpointer
        assert type(replica.graph.checkpointer).__name__ == RecordingSaver.__name__
        inner: Any = saver._inner
        assert saver.conn is inner.conn
        saver.conn = "another pool"
        assert inner.conn == "another pool", "assigning the pool of a living saver reaches the real one"
        assert recording(saver, record, "x") is saver, "never wrapped twice"


async def test_the_history_knows_which_call_a_save_worked_for_and_who_queued(cell_env: CellEnvironment) -> None:
    record, rows = recorder()
    async with replica_on(cell_env, record) as replica:
        call = record.invoke("turn", "u0", {"turn": f"{THREAD}/t1"})
        CURRENT_CALL.set(call)
        await replica.graph.ainvoke(
            replica.agent.turn_input(action().turn), {"configurable": {"thread_id": THREAD}}, durability="async"
        )
        assert call.writes == len(rows.of("aput", OpType.INVOKE)) + len(rows.of("aput_writes", OpType.INVOKE)) > 0
        assert {op.value["parent"] for op in rows.of("aput_writes", OpType.INVOKE)} == {call.number}
        config: Any = {"configurable": {"thread_id": THREAD, "checkpoint_ns": ""}}
        reads = [asyncio.ensure_future(replica.checkpointer.aget_tuple(config)) for _ in range(5)]
        await asyncio.sleep(0)
        assert queued_calls(replica.checkpointer) == 4
        clone = recording(copy.copy(cast("Any", replica.checkpointer)._inner), record, "clone")
        assert queued_calls(clone) == 4, "a clone, as LangGraph makes of it for each run, stands at the same lock"
        await asyncio.gather(*reads)
        assert replica.queued == 0


async def test_a_save_that_raises_has_a_row_with_its_error(cell_env: CellEnvironment) -> None:
    class Failing(AsyncPostgresSaver):
        async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
            raise TimeoutError("no")

    record, rows = recorder()
    async with replica_on(cell_env, record, Failing) as replica:
        with pytest.raises(TimeoutError):
            await request_on(replica, record, action())()
    errors = [op.error for op in rows.of("aput_writes", OpType.INFO)]
    assert errors
    assert all(error is not None and error.type == "TimeoutError" for error in errors)
