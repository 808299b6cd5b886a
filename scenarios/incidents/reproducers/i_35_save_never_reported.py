"""A save fails, and then a node does: the caller reads the node's error, and nobody ever reads the save's.

langchain-ai/langgraph:pregel/_executor.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, MessagesState, StateGraph

from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1, timeout=0.5) as pool:

        async def first(state: MessagesState) -> None:  # the database goes away, for 3 s
            asyncio.get_running_loop().call_later(3, asyncio.ensure_future, pool.putconn(await pool.getconn()))

        async def second(state: MessagesState) -> None:
            await asyncio.sleep(2)
            raise ValueError("the model is overloaded")

        await (saver := AsyncPostgresSaver(pool)).setup()
        graph: Any = StateGraph(MessagesState).add_sequence([first, second]).add_edge(START, "first").compile(saver)
        turn = graph.ainvoke({"messages": []}, THREAD, durability="sync" if cured else "async")
        read = (await asyncio.gather(turn, return_exceptions=True))[0]
        await asyncio.sleep(3)
        stored = await saver.aget_tuple(THREAD)
    if isinstance(read, ValueError) and stored and stored.metadata["step"] < 1:
        raise RuntimeError(f"the caller read {read!r}, and of its save nothing: step {stored.metadata['step']} of 1")


if __name__ == "__main__":
    main(run, "RuntimeError: the caller read ValueError.*, and of its save nothing: step (0|-1) of 1")
