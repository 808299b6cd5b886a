"""A graph of a few steps, and a pool as LangGraph's documentation has it."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

THREAD: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict):
    n: int


async def step(state: State) -> State:
    return {"n": state["n"] + 1}


def chat(saver: AsyncPostgresSaver, steps: int = 3) -> Any:
    graph = StateGraph(State).add_sequence([(f"step_{n}", step) for n in range(steps)])
    return graph.add_edge(START, "step_0").compile(checkpointer=saver)


def pool_of(dsn: str, **settings: Any) -> AsyncConnectionPool[Any]:
    kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    return AsyncConnectionPool(dsn, open=False, kwargs=kwargs, **settings)
