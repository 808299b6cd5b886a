"""Run by ``test_agent_strict_msgpack`` in a process of its own: two turns of every agent, read back by a fresh saver.

LangGraph reads LANGGRAPH_STRICT_MSGPACK once, when it is imported. argv: a conninfo.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde import _msgpack

from tests.agents_under_test.agents_driving import AGENTS, assert_whole, compiled, stored, take, turns_of


async def main(conninfo: str) -> None:
    assert _msgpack.STRICT_MSGPACK_ENABLED
    for agent_class in AGENTS:
        agent = agent_class()
        turns = turns_of(agent, "strict", 2)
        for turn in turns:
            async with AsyncPostgresSaver.from_conn_string(conninfo) as saver:
                await take(compiled(agent, saver), agent, turn)
        async with AsyncPostgresSaver.from_conn_string(conninfo) as saver:
            assert_whole(agent, await stored(saver, turns[0]), turns)
            print(agent.name, "whole")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(sys.argv[1]))
