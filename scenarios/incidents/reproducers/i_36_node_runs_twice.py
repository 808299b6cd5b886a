"""Durability sync: a node's writes and the checkpoint after it race, and a crash at the put runs the node again.

langchain-ai/langgraph#8039
"""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .chat import HELLO, chat
from .ground import main


class Dies(AsyncPostgresSaver):
    order, ordered = asyncio.Lock(), False

    async def aput_writes(self, *args: Any) -> None:
        async with self.order:
            await asyncio.sleep(0.2)  # as on a busy machine
            await super().aput_writes(*args)

    async def aput(self, *args: Any) -> Any:
        async with self.order if self.ordered else nullcontext():
            return os._exit(1) if args[2]["step"] == 2 else await super().aput(*args)


async def run(dsn: str, cured: bool, saves: type[AsyncPostgresSaver] = AsyncPostgresSaver) -> None:
    thread, Dies.ordered = {"configurable": {"thread_id": "t"}}, cured
    async with saves.from_conn_string(dsn) as saver:
        await saver.setup()
        if saves is not Dies and (child := os.fork()):
            os.waitpid(child, 0)  # noqa: ASYNC222 - nothing else is to happen
            again = [step async for step in chat(saver).astream(None, thread) if "__metadata__" not in step]
            if len(again) > 1:  # step_1 had ended before the crash, step_2 had not begun
                raise RuntimeError(f"after the crash these ran: {again}")
        elif saves is Dies:
            await chat(saver).ainvoke(HELLO, thread, durability="sync")
        else:
            asyncio.run(run(dsn, cured, Dies))


if __name__ == "__main__":
    main(run, "RuntimeError: after the crash these ran: .*step_1.*step_2")
