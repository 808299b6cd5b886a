"""Durability async on a slow database: each step leaves a save behind, and nothing makes the graph wait for them.

langchain-ai/langgraph#7094
"""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


def waiting() -> int:
    return sum("checkpointer_put" in str(task.get_coro()) for task in asyncio.all_tasks())


async def run(dsn: str, cured: bool) -> None:
    peak = 0
    async with pool_of(dsn) as pool:
        await (saver := AsyncPostgresSaver(pool)).setup()
        agent = chat(saver, steps=50)
        config = {**THREAD, "recursion_limit": 60}
        async for _ in agent.astream(HELLO, config, durability="sync" if cured else "async"):
            peak = max(peak, waiting())
    if peak > 3:
        raise RuntimeError(f"{peak} saves were waiting behind one graph of 50 steps")


if __name__ == "__main__":
    main(run, "RuntimeError: [1-5][0-9] saves were waiting behind one graph of 50 steps")
