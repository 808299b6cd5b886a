"""What the tests of the strategies share: one replica group on a real Postgres behind a real Toxiproxy, and its
calls.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph, add_messages

from harness.core.agent import AgentUnderTest, Turn
from harness.core.environment import Capability
from harness.core.history import ErrorInfo, Op, OpType
from harness.core.pool import PoolStrategy
from harness.core.scenario import Bounds
from harness.core.verdict import Json
from harness.core.workload import Action, Outcome
from harness.driving.caller import Caller
from harness.driving.database import GroupDatabase
from harness.driving.group import Group
from harness.driving.recorder import Recorder
from harness.driving.replica import Replica
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.pools.controls.graceful_degradation import GracefulDegradation
from harness.pools.controls.instance_tracking_naive import InstanceTrackingNaive
from harness.pools.controls.naive_recreate import NaiveRecreate
from harness.pools.controls.pool_reference_naive import PoolReferenceNaive
from harness.pools.controls.shared_saver import SharedSaver
from harness.pools.degrade_and_rebind import DegradeAndRebind
from harness.pools.fail_fast import FailFast
from harness.pools.instance_tracking import InstanceTracking
from harness.pools.null_pool import NullPool
from harness.pools.per_agent_pool import PerAgentPool
from harness.pools.pgbouncer_session import PgBouncerSession
from harness.pools.pgbouncer_transaction import PgBouncerTransaction
from harness.pools.self_healing import SelfHealing
from harness.pools.self_healing_retry import SelfHealingRetry
from harness.pools.shared_swap import SharedSwap

CANDIDATES: tuple[type[PoolStrategy], ...] = (
    DegradeAndRebind,
    FailFast,
    InstanceTracking,
    NullPool,
    PerAgentPool,
    PgBouncerSession,
    PgBouncerTransaction,
    SelfHealing,
    SelfHealingRetry,
    SharedSwap,
)
CONTROLS: tuple[type[PoolStrategy], ...] = (
    GracefulDegradation,
    InstanceTrackingNaive,
    NaiveRecreate,
    PoolReferenceNaive,
    SharedSaver,
)
POOLERS = frozenset({Capability.PGBOUNCER_SESSION, Capability.PGBOUNCER_TRANSACTION})
GROUP = "g0"
#: Said in a turn: the model takes longer over it than any deadline.
PONDER = "ponder"


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    effects: Annotated[list[str], operator.add]


async def _think(state: State) -> dict[str, Any]:
    await asyncio.sleep(60.0 if state["messages"][-1].content == PONDER else 0.005)
    return {"effects": [f"{state['messages'][-1].id}/think"]}


async def _answer(state: State) -> dict[str, Any]:
    return {"messages": [AIMessage(content="so be it")]}


class _Agent(AgentUnderTest):
    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        return StateGraph(State).add_sequence([("think", _think), ("answer", _answer)]).add_edge(START, "think")


AGENTS: tuple[type[AgentUnderTest], ...] = tuple(type(f"A{n}", (_Agent,), {"name": f"a{n}"}) for n in range(5))


class _Rows:
    """A sink that keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[Op] = []

    def append(
        self,
        type: OpType,  # noqa: A002
        f: str,
        process: str,
        value: dict[str, Json],
        *,
        time_s: float,
        call: int | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        self.rows.append(Op(len(self.rows), time_s, type, f, process, call, value, error))
        return self.rows[-1]


class Service:
    """One replica group of five small agents, and users who call it."""

    def __init__(self, env: CellEnvironment, strategy: type[PoolStrategy], deadline_s: float) -> None:
        self.env = env
        self.sink = _Rows()
        recorder = Recorder(self.sink, env.clock)
        self.database = GroupDatabase(env.conninfo(GROUP), 24, GROUP, recorder)
        self.strategy = strategy(self.database)
        self.group = Group(
            GROUP, self.strategy, self.database, [Replica(agent(), GROUP, recorder) for agent in AGENTS], recorder
        )
        self.deadline_s = deadline_s
        watchdog = Watchdog(recorder, env.clock, slow_s=2.0, fail_s=12.0, give_up=lambda reason: None)
        self.caller = Caller(
            {GROUP: self.group},
            bounds=Bounds(deadline_s=deadline_s),
            durability="async",
            recorder=recorder,
            traffic=CellTraffic((self.group,)),
            watchdog=watchdog,
        )
        self._numbers = itertools.count()

    async def call(self, agent: str, turn: Turn | None = None, attempt: int = 1) -> Outcome:
        """One turn; on a thread of its own unless it is given."""
        if turn is None:
            thread = f"{agent}.u.{next(self._numbers)}"
            turn = Turn(f"{thread}/t1", thread, "?")
        action = Action(think_s=0.0, kind="turn", agent=agent, group=GROUP, turn=turn, attempt=attempt)
        return await self.caller.call("u", action)

    async def call_all(self) -> list[Outcome]:
        """One turn of every agent, side by side."""
        return list(await asyncio.gather(*(self.call(agent.name) for agent in AGENTS)))

    async def until_all_answered(self, limit_s: float) -> float:
        """Call every agent until a whole round is answered; how long it took, at most ``limit_s`` if ever."""
        began_s = self.env.clock.now_s()
        while (took_s := self.env.clock.now_s() - began_s) < limit_s:
            if all(outcome.status == "ok" for outcome in await self.call_all()):
                return took_s
            await asyncio.sleep(0.1)
        raise AssertionError(f"not every agent answers after {limit_s} s: {self.errors()[-5:]}")

    @asynccontextmanager
    async def health_timer(self, period_s: float = 0.5) -> AsyncIterator[None]:
        """The health check that the runner calls."""

        async def timer() -> None:
            while True:
                await asyncio.sleep(period_s)
                await self.group.ensure_healthy()

        task = asyncio.create_task(timer())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=10.0)

    @asynccontextmanager
    async def users(self, count: int = 10) -> AsyncIterator[None]:
        """``count`` users who take turn after turn until the block is left; every call that began is waited for."""
        stop = False

        async def user(n: int) -> None:
            agent = AGENTS[n % len(AGENTS)].name
            while not stop:
                await self.call(agent)
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(user(n)) for n in range(count)]
        try:
            yield
        finally:
            stop = True
            await asyncio.wait(tasks, timeout=self.deadline_s + 20.0)

    async def wait_until(self, true: Callable[[], bool], limit_s: float = 5.0) -> None:
        """Wait for a state of the load."""
        stop_s = self.env.clock.now_s() + limit_s
        while not true():
            assert self.env.clock.now_s() < stop_s, "the load never came to the chosen state"
            await asyncio.sleep(0.005)

    def calls(self) -> list[tuple[Op, Op]]:
        """(invocation, completion) of every call of a user."""
        ends = {op.call: op for op in self.sink.rows if op.f == "turn" and op.type is not OpType.INVOKE}
        return [(op, ends[op.call]) for op in self.sink.rows if op.f == "turn" and op.type is OpType.INVOKE]

    def errors(self) -> list[ErrorInfo]:
        """What callers saw."""
        return [end.error for _, end in self.calls() if end.error is not None]

    def longest_s(self) -> float:
        """The longest call."""
        return max(end.time_s - begin.time_s for begin, end in self.calls())

    def leaks(self) -> list[ErrorInfo]:
        """Errors that callers saw with PoolClosed anywhere in them."""
        return [error for error in self.errors() if error.pool_closed]

    def strategy_errors(self, f: str) -> list[ErrorInfo]:
        """What calls of the strategy itself raised."""
        return [op.error for op in self.sink.rows if op.f == f and op.error is not None]


@asynccontextmanager
async def serving(stack: Stack, strategy: type[PoolStrategy], *, deadline_s: float = 8.0) -> AsyncIterator[Service]:
    """A running service; when the block is left it is closed, and no connection of it may be left."""
    pooler = next(iter(strategy.needs & POOLERS), None)
    async with stack.cell("pools", groups=(GROUP,), pooler=pooler) as env:
        service = Service(env, strategy, deadline_s)
        await service.group.open()
        try:
            yield service
        finally:
            await env.proxy.reset()
            await service.group.close()
        assert service.strategy_errors("close") == []
        stop_s = env.clock.now_s() + 2.0
        while (left := await env.leftover_backends([GROUP])) != {GROUP: 0}:
            assert env.clock.now_s() < stop_s, f"connections left behind: {left}"
            await asyncio.sleep(0.05)


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    """How they ended."""
    return [outcome.status for outcome in outcomes]
