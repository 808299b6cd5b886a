"""Durability async and a Topic channel: a later step changes a checkpoint that was taken before and is saved late.

langchain-ai/langgraph#8748
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypedDict

from langgraph.channels import Topic
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph

from .ground import main
from .pools import THREAD, pool_of


class State(TypedDict):
    logs: Annotated[list[str], Topic(str, accumulate=True)]


async def run(dsn: str, cured: bool) -> None:
    def node(name: str) -> Any:
        async def write(state: State) -> dict[str, str]:
            return {"logs": name}

        return name, write

    async with pool_of(dsn, min_size=1, max_size=1) as pool:
        await (saver := AsyncPostgresSaver(pool)).setup()
        steps = StateGraph(State).add_sequence([node("a"), node("b"), node("c")]).add_edge(START, "a")
        graph: Any = steps.compile(checkpointer=saver)
        busy = await pool.getconn()  # saves are late, as on a slow network
        asyncio.get_running_loop().call_later(0.3, asyncio.ensure_future, pool.putconn(busy))
        if cured:
            await asyncio.sleep(0.5)
        await graph.ainvoke({"logs": "start"}, THREAD, durability="sync" if cured else "async")
        seen = [list(state.values.get("logs", ())) async for state in graph.aget_state_history(THREAD)]
    sizes = [len(logs) for logs in reversed(seen)]
    if sizes != sorted(set(sizes)):
        raise RuntimeError(f"steps have {sizes} entries: the older ones hold what came later")


if __name__ == "__main__":
    main(run, "RuntimeError: steps have .* the older ones hold what came later")
