"""A small real graph with everything that a saver can spoil: parallel tasks, a sub-graph with checkpoints of its own,
an interrupt that some turns run into, and an append-only channel that tells who worked.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypedDict
from zlib import crc32

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import interrupt

from harness.core.agent import AgentUnderTest

_NODES = ("note", "ask", "look", "answer")


class _State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    effects: Annotated[list[str], operator.add]


class _Shelf(TypedDict):
    turn: str
    found: str


def asks(turn_id: str) -> bool:
    """True for the turns (one in three) that stop to ask the user something."""
    return crc32(turn_id.encode()) % 3 == 0


class Clerk(AgentUnderTest):
    """note -> ask and look side by side -> answer; look is a graph of its own."""

    name: ClassVar[str] = "Clerk"

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_node("note", _note)
        builder.add_node("ask", _ask)
        builder.add_node("look", _look)
        builder.add_node("answer", _answer)
        builder.add_edge(START, "note")
        builder.add_edge("note", "ask")
        builder.add_edge("note", "look")
        builder.add_edge(["ask", "look"], "answer")
        return builder

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        """An answered turn has the effects of all its nodes, and no effect is without its turn."""
        turns, answered = set(self.turns_in(values)), dict.fromkeys(self.answers_in(values))
        effects = [entry.rpartition("/") for entry in self.effects_in(values)]
        problems = [f"effects of {turn}, which the state does not hold" for turn, _, _ in effects if turn not in turns]
        for turn in answered:
            missing = sorted(set(_NODES) - {node for owner, _, node in effects if owner == turn})
            if missing:
                problems.append(f"turn {turn} is answered without the effects of {', '.join(missing)}")
        return problems


def _turn(state: _State) -> str:
    return next(str(message.id) for message in reversed(state["messages"]) if message.type == "human")


async def _note(state: _State) -> dict[str, Any]:
    return {"effects": [f"{_turn(state)}/note"]}


async def _ask(state: _State) -> dict[str, Any]:
    turn = _turn(state)
    if asks(turn):
        interrupt({"question": turn})
    return {"effects": [f"{turn}/ask"]}


async def _look(state: _State) -> dict[str, Any]:
    turn = _turn(state)
    found = await _SHELF.ainvoke({"turn": turn, "found": ""})
    return {"effects": [f"{found['found']}/look"]}


async def _answer(state: _State) -> dict[str, Any]:
    turn = _turn(state)
    return {"messages": [AIMessage(content=f"done: {turn}")], "effects": [f"{turn}/answer"]}


async def _find(state: _Shelf) -> dict[str, Any]:
    return {"found": state["turn"]}


def _shelf() -> Any:
    builder = StateGraph(_Shelf)
    builder.add_node("find", _find)
    builder.add_edge(START, "find")
    return builder.compile()


_SHELF = _shelf()
