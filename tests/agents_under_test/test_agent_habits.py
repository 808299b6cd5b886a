"""What each agent does to the database, read from its rows with plain SQL."""

from __future__ import annotations

from typing import Any, LiteralString

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.types import Command

from agents_under_test.formulation_assistant import FormulationAssistant
from agents_under_test.project_bodhi_agent import GATES, ProjectBodhiAgent
from agents_under_test.supervisor_agent import SAVING, SUB_AGENTS, SupervisorAgent
from agents_under_test.three_dp_custom_agent import MESH_BYTES, ThreeDPCustomAgent
from agents_under_test.trial_analysis_agent import ARMS, TrialAnalysisAgent
from tests.agents_under_test.agents_driving import FailingSaver, Pool, compiled, config_of, take, turns_of

pytestmark = pytest.mark.slow


async def _rows(pool: Pool, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query, parameters)).fetchall()


async def test_supervisor_has_a_sub_agent_that_saves_under_a_namespace_of_its_own(pool: Pool) -> None:
    agent = SupervisorAgent()
    turn = turns_of(agent, "nested", 1)[0]
    await take(compiled(agent, AsyncPostgresSaver(pool)), agent, turn)
    rows = await _rows(
        pool,
        "select checkpoint_ns, count(*) as saves, min(checkpoint_id) as first from checkpoints "
        "where thread_id = %s and checkpoint_ns <> '' group by 1 order by first",
        turn.thread_id,
    )
    assert [row["checkpoint_ns"].split(":")[0] for row in rows] == [SAVING]
    assert all(row["saves"] == 3 for row in rows)
    nested_writes = await _rows(
        pool,
        "select distinct checkpoint_ns from checkpoint_writes where thread_id = %s and checkpoint_ns <> ''",
        turn.thread_id,
    )
    assert len(nested_writes) == 1


async def test_supervisor_hands_on_three_times_and_saves_after_each_sub_agent(pool: Pool) -> None:
    agent = SupervisorAgent()
    turn = turns_of(agent, "hops", 1)[0]
    await take(compiled(agent, AsyncPostgresSaver(pool)), agent, turn)
    rows = await _rows(
        pool,
        "select blob from checkpoint_blobs where thread_id = %s and checkpoint_ns = '' and channel = 'findings' "
        "order by version",
        turn.thread_id,
    )
    held = [tuple(name for name in SUB_AGENTS if name.encode() in row["blob"]) for row in rows]
    assert held == [SUB_AGENTS[:n] for n in range(1, len(SUB_AGENTS) + 1)]
    assert len(held) - 1 >= 3, "hops"


async def test_three_dp_stores_a_mebibyte_in_every_turn_that_does_not_compress(pool: Pool) -> None:
    agent, saver = ThreeDPCustomAgent(), AsyncPostgresSaver(pool)
    turns = turns_of(agent, "large", 2)
    for turn in turns:
        await take(compiled(agent, saver), agent, turn)
    rows = await _rows(
        pool,
        "select octet_length(blob) as size, pg_column_size(blob) as on_disk, md5(blob) as sum "
        "from checkpoint_blobs where thread_id = %s and channel = 'mesh'",
        turns[0].thread_id,
    )
    full = [row for row in rows if row["size"]]
    assert len(full) == len({row["sum"] for row in full}) == len(turns)
    assert all(row["size"] >= MESH_BYTES == 1024 * 1024 and row["on_disk"] >= row["size"] for row in full)


async def test_bodhi_waits_twice_and_each_answer_is_a_pending_write(pool: Pool) -> None:
    agent = ProjectBodhiAgent()
    turn = turns_of(agent, "gates", 1)[0]
    graph = compiled(agent, AsyncPostgresSaver(pool))
    out = await graph.ainvoke(agent.turn_input(turn), config_of(turn))
    asked: list[str] = []
    for gate in GATES:
        (waiting,) = out["__interrupt__"]
        assert waiting.value == {"turn": turn.id, "gate": gate}
        asked.append(waiting.id)
        out = await graph.ainvoke(Command(resume=agent.resume_input(turn)), config_of(turn))
    assert "__interrupt__" not in out
    assert len(set(asked)) == 2
    rows = await _rows(
        pool,
        "select channel, count(distinct checkpoint_id) as steps from checkpoint_writes "
        "where thread_id = %s and channel in ('__interrupt__', '__resume__') group by 1",
        turn.thread_id,
    )
    assert {row["channel"]: row["steps"] for row in rows} == {"__interrupt__": 2, "__resume__": 2}


async def test_trial_analysis_saves_eight_tasks_in_one_step(pool: Pool) -> None:
    agent = TrialAnalysisAgent()
    turn = turns_of(agent, "wide", 1)[0]
    await take(compiled(agent, AsyncPostgresSaver(pool)), agent, turn)
    rows = await _rows(
        pool,
        "select checkpoint_id, count(distinct task_id) as tasks from checkpoint_writes "
        "where thread_id = %s and channel = 'results' group by 1",
        turn.thread_id,
    )
    assert [row["tasks"] for row in rows] == [len(ARMS)] == [8]


async def test_formulation_loops_and_a_fork_gives_the_thread_a_sibling(pool: Pool) -> None:
    agent, saver = FormulationAssistant(), AsyncPostgresSaver(pool)
    graph = compiled(agent, saver)
    turns = turns_of(agent, "forked", 2)
    for turn in turns:
        await take(graph, agent, turn)
    back = [seen async for seen in saver.alist(config_of(turns[0]))]
    before = next(seen for seen in back if turns[1].id not in agent.turns_in(seen.checkpoint["channel_values"]))
    await graph.aupdate_state(before.config, None, as_node="__copy__")
    rows = await _rows(
        pool,
        "select fork.checkpoint_id as fork, count(sibling.*) as siblings from checkpoints fork "
        "join checkpoints sibling using (thread_id, checkpoint_ns, parent_checkpoint_id) "
        "where thread_id = %s and fork.metadata->>'source' = 'fork' "
        "and sibling.checkpoint_id <> fork.checkpoint_id group by 1",
        turns[0].thread_id,
    )
    assert [row["siblings"] for row in rows] == [1]
    newest = await _rows(
        pool, "select max(checkpoint_id) as newest from checkpoints where thread_id = %s", turns[0].thread_id
    )
    assert newest[0]["newest"] == rows[0]["fork"]
    rounds = await _rows(
        pool,
        "select count(distinct version) as versions from checkpoint_blobs where thread_id = %s and channel = 'formula'",
        turns[0].thread_id,
    )
    assert rounds[0]["versions"] == sum(len(agent.nodes_of(turn.id)) - 1 for turn in turns)


@pytest.mark.parametrize(
    ("agent_class", "calls"),
    [
        (SupervisorAgent, {"aget_tuple": 5, "aput": 9, "aput_writes": 7}),
        (ThreeDPCustomAgent, {"aget_tuple": 1, "aput": 4, "aput_writes": 3}),
        (ProjectBodhiAgent, {"aget_tuple": 3, "aput": 6, "aput_writes": 7}),
        (TrialAnalysisAgent, {"aget_tuple": 1, "aput": 5, "aput_writes": 11}),
    ],
)
async def test_saver_calls_per_turn(agent_class: type[Any], calls: dict[str, int], pool: Pool) -> None:
    """They decide what a millisecond of latency costs a turn: a change here moves every scenario with latency."""
    agent, saver = agent_class(), FailingSaver(pool)
    await take(compiled(agent, saver), agent, turns_of(agent, "count", 1)[0])
    assert dict(saver.calls) == calls
