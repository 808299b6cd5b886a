"""A graph of two nodes over ``messages``, and one replica of it on a real saver: what the driving tests drive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from psycopg_pool import AsyncConnectionPool

from harness.core.agent import AgentUnderTest, Turn
from harness.core.pool import Database
from harness.core.workload import Action
from harness.driving.database import GroupDatabase
from harness.driving.recorder import Recorder
from harness.driving.replica import Replica
from harness.driving.request import DrivenRequest
from harness.environments.cell import CellEnvironment


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class SmallAgent(AgentUnderTest):
    """Echoes; ``slow_s`` is how long its first node takes."""

    name = "SmallAgent"
    slow_s = 0.0

    def graph(self) -> Any:
        async def think(state: State) -> dict[str, Any]:
            await asyncio.sleep(self.slow_s)
            return {}

        async def answer(state: State) -> dict[str, Any]:
            return {"messages": [AIMessage(content=f"echo {state['messages'][-1].content}")]}

        builder = StateGraph(State)
        builder.add_node("think", think)
        builder.add_node("answer", answer)
        builder.add_edge(START, "think")
        builder.add_edge("think", "answer")
        builder.add_edge("answer", END)
        return builder


THREAD = "SmallAgent.u0.0"


def action(kind: str = "turn", n: int = 1, *, target: str = "", thread: str = THREAD) -> Action:
    letter = {"turn": "t", "resume": "t", "restore": "r", "fork": "f", "delete": "d"}[kind]
    turn = Turn(f"{thread}/{letter}{n}", thread, f"hello {n}")
    return Action(think_s=0.0, kind=kind, agent="SmallAgent", group="g0", turn=turn, target=target)


@asynccontextmanager
async def replica_on(
    env: CellEnvironment, recorder: Recorder, saver_class: type[AsyncPostgresSaver] = AsyncPostgresSaver
) -> AsyncIterator[Replica]:
    """A replica whose saver writes to the cell's database, on a pool of two."""
    database: Database = GroupDatabase(env.conninfo("g0"), 24, "g0", recorder)
    pool: AsyncConnectionPool[Any] = database.pool(min_size=1, max_size=2)
    await pool.open()
    replica = Replica(SmallAgent(), "g0", recorder)
    saver: BaseCheckpointSaver[Any] = saver_class(pool)
    replica.checkpointer = saver
    try:
        yield replica
    finally:
        await pool.close()


def request_on(replica: Replica, recorder: Recorder, what: Action) -> DrivenRequest:
    call = recorder.invoke(what.kind, "u0", {"turn": what.turn.id, "thread": what.turn.thread_id})
    return DrivenRequest(
        replica, what, durability="async", deadline_s=5.0, recorder=recorder, call=call, errors=(TimeoutError,)
    )
