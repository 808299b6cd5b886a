"""Bytes as the saver stores them, taken apart without it: the same as the agent's own reading, or None."""

from __future__ import annotations

from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from harness.core.agent import AgentUnderTest
from harness.driving.stored_messages import Said, said_in, texts_in
from tests.driving.small_agent import SmallAgent

CALL = {"name": "look", "args": {"x": 1}, "id": "c1"}

CONVERSATIONS: dict[str, list[Any]] = {
    "nothing": [],
    "one turn": [HumanMessage("hello", id="t/t1"), AIMessage("echo")],
    "half a turn": [HumanMessage("hello", id="t/t1"), AIMessage("echo"), HumanMessage("again", id="t/t2")],
    "twice": [HumanMessage("hello", id="t/t1"), AIMessage("echo"), AIMessage("echo"), HumanMessage("x", id="t/t1")],
    "tools": [
        SystemMessage("be good"),
        HumanMessage("hello", id="t/t1"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("found", tool_call_id="c1"),
        AIMessage("echo of t/t1", response_metadata={"turn": "t/t1", 7: b"raw"}),
    ],
    "an answer to nobody": [AIMessage("hello?")],
}


def stored(value: Any) -> tuple[str, bytes]:
    """(type, bytes) of a channel's value."""
    return JsonPlusSerializer().dumps_typed(value)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_same_is_read_as_by_the_agent(name: str) -> None:
    values = {"messages": CONVERSATIONS[name]}
    agent: AgentUnderTest = SmallAgent()
    said = said_in(*stored(CONVERSATIONS[name]))
    assert said == Said(tuple(agent.turns_in(values)), tuple(agent.answers_in(values)))


@pytest.mark.parametrize(
    "value", ["text", {"messages": []}, [1, 2], ["words"], [["a", "b"]], [["m", "C", {"id": "x"}]]]
)
def test_what_is_no_conversation_is_not_taken_for_one(value: Any) -> None:
    assert said_in(*stored(value)) is None


@pytest.mark.parametrize(
    ("kind", "blob"), [("json", b"[]"), ("msgpack", b"\xc1"), ("msgpack", b""), ("msgpack", b"\xdd")]
)
def test_bytes_that_cannot_be_read_are_not_guessed(kind: str, blob: bytes) -> None:
    assert said_in(kind, blob) is None
    assert texts_in(kind, blob) is None


def test_an_extension_that_cannot_be_read_is_not_guessed() -> None:
    assert said_in("msgpack", ormsgpack.packb([ormsgpack.Ext(5, b"\xc1")])) is None


@pytest.mark.parametrize(
    ("value", "texts"), [([], ()), (["t/t1/plan", "t/t1/say"], ("t/t1/plan", "t/t1/say")), ([1], None), ("x", None)]
)
def test_a_list_of_strings_is_read(value: Any, texts: tuple[str, ...] | None) -> None:
    assert texts_in(*stored(value)) == texts
