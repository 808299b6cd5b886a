"""The scripted model: same question, node and turn, same answer and time; never the same message."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from agents_under_test.scripted_model import ScriptedModel, draw, duration_ms, question_in

_QUESTION = HumanMessage("how strong is it?", id="Agent.u1.0/t1")


async def test_answers_are_repeatable_and_messages_are_not() -> None:
    first, second = [await ScriptedModel(node="stats").ainvoke([_QUESTION]) for _ in range(2)]
    assert first.content == second.content
    assert str(first.content).startswith("stats: how strong is it? (")
    assert {"turn": _QUESTION.id, "node": "stats"}.items() <= first.response_metadata.items()
    assert first.id
    assert first.id != second.id


async def test_another_node_turn_or_text_gets_another_answer() -> None:
    asked = [
        ("stats", _QUESTION),
        ("data", _QUESTION),
        ("stats", HumanMessage(_QUESTION.content, id="Agent.u1.0/t2")),
        ("stats", HumanMessage("how light?", id=_QUESTION.id)),
    ]
    answers = {str((await ScriptedModel(node=node).ainvoke([question])).content) for node, question in asked}
    assert len(answers) == len(asked)


async def test_async_answers_take_their_time_on_the_loop_and_sync_ones_none() -> None:
    loop = asyncio.get_running_loop()
    slowest = max((f"node{number}" for number in range(50)), key=lambda node: duration_ms(str(_QUESTION.id), node))
    began = loop.time()
    assert ScriptedModel(node=slowest).invoke([_QUESTION]).content
    between = loop.time()
    await ScriptedModel(node=slowest).ainvoke([_QUESTION])
    assert loop.time() - between >= duration_ms(str(_QUESTION.id), slowest) / 1000 - 0.002
    assert between - began < loop.time() - between


def test_draws_are_the_same_on_every_machine() -> None:
    assert [draw("Agent.u1.0/t1", node, 1000) for node in ("a", "b", "c")] == [387, 260, 182]


def test_a_graph_that_is_run_without_a_turn_is_told_so() -> None:
    with pytest.raises(ValueError, match="no human message among 1 messages"):
        question_in([AIMessage("hello")])
