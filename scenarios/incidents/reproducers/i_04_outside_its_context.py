"""A graph is used after the block of from_conn_string that its saver belongs to."""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD


async def run(dsn: str, cured: bool) -> None:
    async with AsyncPostgresSaver.from_conn_string(dsn) as saver:
        await saver.setup()
        agent = chat(saver)
        if cured:
            await agent.ainvoke(HELLO, THREAD)
    if not cured:
        await agent.ainvoke(HELLO, THREAD)


if __name__ == "__main__":
    main(run, "OperationalError: the connection is closed")
