"""Time travel: taking turns back leaves a sound state, and the conversation goes on from there."""

from __future__ import annotations

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from agents_under_test.base import BaseAgent
from agents_under_test.formulation_assistant import FormulationAssistant
from harness.core.agent import Turn
from tests.agents_under_test.agents_driving import (
    AGENTS,
    Graph,
    Pool,
    assert_whole,
    compiled,
    config_of,
    stored,
    take,
    turns_of,
)

pytestmark = pytest.mark.slow


async def _take_back(graph: Graph, agent: BaseAgent, turn: Turn, *, finished: bool = True) -> None:
    """Copy the newest checkpoint that lacks ``turn`` to the top of its thread.

    ``finished``: one after which nothing was left to do. Otherwise it may be the one that holds the turn's own input,
    not yet among the messages: copied, it still waits for a graph to start on it.
    """
    async for seen in graph.aget_state_history(config_of(turn)):
        if turn.id not in agent.turns_in(seen.values) and not (finished and seen.next):
            await graph.aupdate_state(seen.config, None, as_node="__copy__")
            return
    raise AssertionError(f"no checkpoint lacks {turn.id}")


@pytest.mark.parametrize(("durability", "finished"), [("async", True), ("async", False), ("exit", True)])
@pytest.mark.parametrize("agent_class", AGENTS)
async def test_a_turn_is_taken_back_and_the_next_one_takes_its_place(
    agent_class: type[BaseAgent], durability: str, finished: bool, pool: Pool
) -> None:
    agent, saver = agent_class(), AsyncPostgresSaver(pool)
    graph = compiled(agent, saver)
    turns = turns_of(agent, f"back.{durability}", 4)
    for turn in turns[:3]:
        await take(graph, agent, turn, durability)
    await _take_back(graph, agent, turns[1], finished=finished)
    assert_whole(agent, await stored(saver, turns[0]), turns[:1])
    await take(graph, agent, turns[3], durability)
    assert_whole(agent, await stored(saver, turns[0]), [turns[0], turns[3]])


async def test_every_fifth_turn_of_a_long_formulation_is_taken_back(pool: Pool) -> None:
    agent, saver = FormulationAssistant(), AsyncPostgresSaver(pool)
    graph = compiled(agent, saver)
    kept: list[Turn] = []
    for number, turn in enumerate(turns_of(agent, "long", 11), start=1):
        await take(graph, agent, turn)
        kept.append(turn)
        if number % 5 == 0:
            await _take_back(graph, agent, kept.pop())
        assert_whole(agent, await stored(saver, turn), kept)


async def test_the_first_turn_of_a_thread_can_be_taken_back(pool: Pool) -> None:
    agent, saver = FormulationAssistant(), AsyncPostgresSaver(pool)
    graph = compiled(agent, saver)
    turns = turns_of(agent, "first", 2)
    await take(graph, agent, turns[0])
    await _take_back(graph, agent, turns[0], finished=False)
    assert_whole(agent, await stored(saver, turns[0]), [])
    await take(graph, agent, turns[1])
    assert_whole(agent, await stored(saver, turns[0]), turns[1:])
