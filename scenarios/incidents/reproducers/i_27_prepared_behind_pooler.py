"""Prepared statements behind PgBouncer in transaction mode: one client's statement meets another client's session.

Needs --dsn of a PgBouncer with pool_mode=transaction and max_prepared_statements=0
"""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .chat import HELLO, chat
from .ground import main
from .pools import pool_of


async def turns(saver: AsyncPostgresSaver, user: int) -> None:
    for _ in range(3):
        await chat(saver).ainvoke(HELLO, {"configurable": {"thread_id": f"{user}"}})


async def run(dsn: str, cured: bool) -> None:
    pool: Any = pool_of(dsn, min_size=4)
    pool.kwargs["prepare_threshold"] = None if cured else 0  # what LangGraph's documentation recommends
    async with pool:
        await AsyncPostgresSaver(pool).setup()
        await asyncio.gather(*(turns(AsyncPostgresSaver(pool), user) for user in range(4)))


if __name__ == "__main__":
    main(run, r'prepared statement "_pg3_\d+" (already exists|does not exist)', embedded=False)
