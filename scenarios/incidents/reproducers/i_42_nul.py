"""A model answers with a NUL character: Postgres takes none in jsonb, so that turn can never be saved.

langchain-ai/langgraph#1878
"""

from __future__ import annotations

from typing import TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph

from .ground import main
from .pools import THREAD, pool_of


class State(TypedDict):
    answer: str


async def run(dsn: str, cured: bool) -> None:
    async def model(state: State) -> State:
        said = "a picture of \x00 bytes"
        return {"answer": said.replace("\x00", "") if cured else said}

    async with pool_of(dsn) as pool:
        await (saver := AsyncPostgresSaver(pool)).setup()
        graph = StateGraph(State).add_node(model).add_edge(START, "model").compile(checkpointer=saver)
        await graph.ainvoke({"answer": ""}, THREAD)


if __name__ == "__main__":
    main(run, "UntranslatableCharacter: unsupported Unicode escape sequence")
