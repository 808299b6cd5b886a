"""A run is accepted, its process dies in the first node, and no table says that it ever was.

langchain-ai/langgraph#8764
"""

from __future__ import annotations

import os
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, MessagesState, StateGraph

from .ground import main
from .pools import THREAD, pool_of
from .process import in_a_process


async def dies(state: MessagesState) -> None:
    os._exit(1)


async def accept(dsn: str, durability: Any) -> None:
    async with pool_of(dsn) as pool:
        graph = StateGraph(MessagesState).add_node(dies).add_edge(START, "dies")
        await graph.compile(AsyncPostgresSaver(pool)).ainvoke({"messages": []}, THREAD, durability=durability)


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        in_a_process(accept(dsn, "sync" if cured else "async"))
        if await saver.aget_tuple(THREAD) is None:
            raise RuntimeError("a run that was accepted left no trace")


if __name__ == "__main__":
    main(run, "RuntimeError: a run that was accepted left no trace")
