"""A save that fails, at every place where one can: the turn is finished afterwards, and the state is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from agents_under_test.base import BaseAgent
from agents_under_test.supervisor_agent import SupervisorAgent
from harness.core.agent import Turn
from tests.agents_under_test.agents_driving import (
    AGENTS,
    FailingSaver,
    Pool,
    SaverFailed,
    answer_interrupts,
    assert_whole,
    compiled,
    config_of,
    finish,
    stored,
    take,
    turns_like,
    turns_of,
)

pytestmark = pytest.mark.slow

#: How many of these cases are under way at once.
ABREAST = 8


async def _saves_in_a_turn(agent: BaseAgent, pool: Pool, turns: list[Turn], durability: str) -> list[tuple[str, int]]:
    """Every save of the second of these two turns, as (method, its number)."""
    await take(compiled(agent, AsyncPostgresSaver(pool)), agent, turns[0], durability)
    saver = FailingSaver(pool)
    await take(compiled(agent, saver), agent, turns[1], durability)
    return [(method, at + 1) for method in ("aput", "aput_writes") for at in range(saver.calls[method])]


async def _all(cases: Sequence[Awaitable[None]]) -> None:
    gate = asyncio.Semaphore(ABREAST)

    async def bounded(case: Awaitable[None]) -> None:
        async with gate:
            await asyncio.wait_for(case, 30)

    await asyncio.gather(*(bounded(case) for case in cases))


async def _break_and_finish(agent: BaseAgent, pool: Pool, saver: FailingSaver, turns: list[Turn], mode: Any) -> None:
    """A sound turn, one whose save fails, the same brought to its end, and a sound one."""
    clean = AsyncPostgresSaver(pool)
    healthy = compiled(agent, clean)
    await take(healthy, agent, turns[0], mode)
    with pytest.raises(SaverFailed):
        await take(compiled(agent, saver), agent, turns[1], mode)
    assert list(agent.problems_in(await stored(clean, turns[1]))) == []
    await finish(healthy, agent, turns[1], mode)
    assert_whole(agent, await stored(clean, turns[1]), turns[:2])
    await take(healthy, agent, turns[2], mode)
    assert_whole(agent, await stored(clean, turns[2]), turns)


@pytest.mark.parametrize(("durability", "landed"), [("async", False), ("sync", True), ("exit", False), ("exit", True)])
@pytest.mark.parametrize("agent_class", AGENTS)
async def test_a_turn_with_a_failed_save_is_finished_whole(
    agent_class: type[BaseAgent], durability: str, landed: bool, pool: Pool
) -> None:
    agent = agent_class()
    counted = turns_of(agent, "counted", 2)
    cases = []
    for method, at in await _saves_in_a_turn(agent, pool, counted, durability):
        turns = turns_like(agent, f"{method}.{at}", counted)
        saver = FailingSaver(pool, method, at, landed=landed)
        cases.append(_break_and_finish(agent, pool, saver, turns, durability))
    assert cases
    await _all(cases)


@pytest.mark.parametrize("agent_class", AGENTS)
async def test_a_half_turn_that_nobody_finishes_is_no_problem_and_harms_no_later_turn(
    agent_class: type[BaseAgent], pool: Pool
) -> None:
    agent = agent_class()
    counted = turns_of(agent, "counted", 2)
    half_turns = 0

    async def leave_half(method: str, at: int) -> None:
        nonlocal half_turns
        turns = turns_like(agent, f"{method}.{at}", counted)
        clean = AsyncPostgresSaver(pool)
        await take(compiled(agent, clean), agent, turns[0])
        with pytest.raises(SaverFailed):
            await take(compiled(agent, FailingSaver(pool, method, at)), agent, turns[1])
        await take(compiled(agent, clean), agent, turns[2])
        values = await stored(clean, turns[2])
        assert list(agent.problems_in(values)) == []
        answered = list(agent.answers_in(values))
        assert answered in ([turns[0].id, turns[2].id], [turn.id for turn in turns])
        half_turns += list(agent.turns_in(values)) != answered

    await _all([leave_half(method, at) for method, at in await _saves_in_a_turn(agent, pool, counted, "async")])
    assert half_turns >= 2


async def test_a_turn_pinned_to_an_old_checkpoint_asks_fresh_sub_agents(pool: Pool) -> None:
    """A pinned input is time travel to LangGraph: sub-agents must not pick up what they saved for another turn."""
    agent, saver = SupervisorAgent(), AsyncPostgresSaver(pool)
    graph = compiled(agent, saver)
    turns = turns_of(agent, "pinned", 3)
    await take(graph, agent, turns[0])
    base = await saver.aget_tuple(config_of(turns[0]))
    assert base is not None
    await take(graph, agent, turns[1])
    pinned = config_of(turns[2], base.config["configurable"]["checkpoint_id"])
    out = await graph.ainvoke(agent.turn_input(turns[2]), pinned)
    await answer_interrupts(graph, agent, turns[2], out, "async")
    values = await stored(saver, turns[2])
    assert_whole(agent, values, [turns[0], turns[2]])
    assert values["findings"]["turn"] == turns[2].id
