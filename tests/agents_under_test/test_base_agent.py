"""BaseAgent as a team uses it: ``chat`` and ``restore_session`` over a pool strategy that is handed in."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from agents_under_test.three_dp_custom_agent import ThreeDPCustomAgent
from harness.core.agent import Turn
from harness.core.pool import AgentHandle, Answered, Degraded, PoolStrategy, Reply, Request
from tests.agents_under_test.agents_driving import Pool, assert_whole, compiled, stored, take, turns_of

pytestmark = pytest.mark.slow


class _Database:
    """One pool for everybody, open already."""

    conninfo = "never used: the pool is open"
    budget = 8

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def pool(self, *, pool_class: Any = None, **kwargs: Any) -> Pool:
        return self._pool


class _OnePool(PoolStrategy):
    """Notes what it is asked. ``sick``: the health check raises. ``refusing``: every request is degraded."""

    name = "one_pool"
    sick = refusing = False

    def __init__(self, database: _Database) -> None:
        super().__init__(database)
        self.asked: list[str] = []

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        return AsyncPostgresSaver(self.database.pool())

    async def ensure_healthy(self) -> None:
        self.asked.append("ensure_healthy")
        if self.sick:
            raise TimeoutError("SELECT 1 took more than 2 s")

    async def recreate(self) -> None:
        self.asked.append("recreate")

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        self.asked.append(f"serve {request.kind} of {agent.name}")
        return Degraded("database_unavailable", 1.0) if self.refusing else await request()


class _Handle:
    """A living replica."""

    replica = "0"

    def __init__(self, name: str, saver: BaseCheckpointSaver[Any]) -> None:
        self.name = name
        self.checkpointer = saver


class _Call:
    """A request for one turn, or for what the thread holds."""

    deadline_s = 8.0

    def __init__(self, kind: str, agent: ThreeDPCustomAgent, saver: BaseCheckpointSaver[Any], turn: Turn) -> None:
        self.kind, self.thread_id, self.turn_id = kind, turn.thread_id, turn.id
        self._agent, self._saver, self._turn = agent, saver, turn

    async def __call__(self) -> Reply:
        if self.kind == "turn":
            await take(compiled(self._agent, self._saver), self._agent, self._turn)
        values = await stored(self._saver, self._turn)
        return Answered(str(values["messages"][-1].content), tuple(self._agent.turns_in(values)))

    async def stored(self) -> tuple[str, ...]:
        return tuple(self._agent.turns_in(await stored(self._saver, self._turn)))

    async def finish(self) -> Reply:
        return await self()


class _Service:
    """An agent, attached to a strategy over the real database."""

    def __init__(self, pool: Pool) -> None:
        self.agent = ThreeDPCustomAgent()
        self.pools = _OnePool(_Database(pool))
        self.saver = AsyncPostgresSaver(pool)
        self.turn = turns_of(self.agent, "service", 1)[0]
        self.agent.attach(self.pools, _Handle(self.agent.name, self.saver))

    def call(self, kind: str) -> _Call:
        return _Call(kind, self.agent, self.saver, self.turn)


async def test_chat_checks_health_first_and_restore_session_shows_the_turn(pool: Pool) -> None:
    service = _Service(pool)
    answered = await service.agent.chat(service.call("turn"))
    assert isinstance(answered, Answered)
    assert answered.text.startswith("slice_part: question 0 (")
    assert await service.agent.restore_session(service.call("restore")) == answered
    assert service.pools.asked == [
        "ensure_healthy",
        "serve turn of ThreeDPCustomAgent",
        "ensure_healthy",
        "serve restore of ThreeDPCustomAgent",
    ]
    assert_whole(service.agent, await stored(service.saver, service.turn), [service.turn])


async def test_a_failing_health_check_is_logged_and_never_reaches_the_caller(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    service = _Service(pool)
    service.pools.sick = True
    with caplog.at_level(logging.WARNING, "poolproof.agents"):
        assert isinstance(await service.agent.chat(service.call("turn")), Answered)
    assert [record.getMessage() for record in caplog.records] == [
        "ThreeDPCustomAgent: health check failed: TimeoutError: SELECT 1 took more than 2 s"
    ]


async def test_what_the_strategy_answers_is_what_the_caller_gets(pool: Pool) -> None:
    service = _Service(pool)
    service.pools.refusing = True
    assert await service.agent.chat(service.call("turn")) == Degraded("database_unavailable", 1.0)
    assert await stored(service.saver, service.turn) == {}


async def test_restore_session_takes_no_turn(pool: Pool) -> None:
    service = _Service(pool)
    with pytest.raises(ValueError, match="restore_session got a request of kind 'turn'; allowed: 'restore'"):
        await service.agent.restore_session(service.call("turn"))
    assert service.pools.asked == []


async def test_the_operators_lever_is_the_strategys(pool: Pool) -> None:
    service = _Service(pool)
    await service.agent._recreate_pool()
    assert service.pools.asked == ["recreate"]
