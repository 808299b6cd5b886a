"""Turns without faults: one answer each, every effect, the same words on every run, in every durability."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from agents_under_test.base import BaseAgent
from agents_under_test.scripted_model import LONGEST_MS, SHORTEST_MS, duration_ms
from tests.agents_under_test.agents_driving import AGENTS, Pool, assert_whole, compiled, stored, take, turns_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
@pytest.mark.parametrize("agent_class", AGENTS)
async def test_each_turn_is_answered_once_and_leaves_every_effect(
    agent_class: type[BaseAgent], durability: str, pool: Pool
) -> None:
    agent, saver = agent_class(), AsyncPostgresSaver(pool)
    graph = compiled(agent, saver)
    turns = turns_of(agent, durability, 3)
    for number, turn in enumerate(turns, start=1):
        out = await take(graph, agent, turn, durability)
        assert isinstance(out["messages"][-1], AIMessage)
        assert_whole(agent, await stored(saver, turn), turns[:number])


@pytest.mark.parametrize("agent_class", AGENTS)
async def test_the_same_turns_get_the_same_answers_but_never_the_same_message(agent_class: type[BaseAgent]) -> None:
    agent = agent_class()
    turns = turns_of(agent, "again", 2)
    runs: list[list[BaseMessage]] = []
    for _ in range(2):
        saver = InMemorySaver()
        for turn in turns:
            await take(compiled(agent, saver), agent, turn)
        runs.append((await stored(saver, turns[0]))["messages"])
    first, second = runs
    assert [message.content for message in first] == [message.content for message in second]
    assert len({message.content for message in first}) == 4
    answers = [message.id for run in runs for message in run if isinstance(message, AIMessage)]
    assert len(set(answers)) == 4


@pytest.mark.parametrize("agent_class", AGENTS)
async def test_a_turn_that_is_sent_twice_shows_as_two_answers_and_doubled_effects(agent_class: type[BaseAgent]) -> None:
    agent, saver = agent_class(), InMemorySaver()
    turn = turns_of(agent, "twice", 1)[0]
    for _ in range(2):
        await take(compiled(agent, saver), agent, turn)
    values = await stored(saver, turn)
    assert agent.turns_in(values) == [turn.id]
    assert agent.answers_in(values) == [turn.id, turn.id]
    effects = agent.effects_in(values)
    assert all(effects.count(entry) == 2 for entry in effects)


@pytest.mark.parametrize("agent_class", AGENTS)
def test_nodes_take_5_to_50_ms(agent_class: type[BaseAgent]) -> None:
    agent = agent_class()
    turns = turns_of(agent, "many", 200)
    drawn = {duration_ms(turn.id, node) for turn in turns for node in agent.nodes_of(turn.id)}
    assert min(drawn) == SHORTEST_MS == 5
    assert max(drawn) == LONGEST_MS == 50


@pytest.mark.parametrize("agent_class", AGENTS)
def test_the_harness_can_make_the_agent_by_itself(agent_class: type[BaseAgent]) -> None:
    assert agent_class().name == agent_class.__name__
