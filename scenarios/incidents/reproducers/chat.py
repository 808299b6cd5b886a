"""A graph of a few steps, each of which says hello."""

from __future__ import annotations

from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

HELLO: Any = {"messages": ["hello"]}


def chat(saver: Any, steps: int = 3) -> Any:
    names = [(f"step_{n}", lambda state: HELLO) for n in range(steps)]
    return StateGraph(MessagesState).add_sequence(names).add_edge(START, "step_0").compile(checkpointer=saver)
