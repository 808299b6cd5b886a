"""Strategy calls are recorded and bounded; overdue calls and stalls are seen from outside the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from harness.core.history import OpType
from harness.core.pool import AgentHandle, Answered, Degraded, PoolStrategy, Reply, Request
from harness.core.scenario import Bounds
from harness.driving import group as group_module
from harness.driving.background import background
from harness.driving.caller import Caller
from harness.driving.database import GroupDatabase
from harness.driving.group import Group, StrategyBroken, cancel_hard
from harness.driving.recorder import Recorder
from harness.driving.replica import Replica
from harness.driving.sampler import Sampler
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from harness.environments.clock import RealClock
from tests.driving.rows import Rows, recorder
from tests.driving.small_agent import SmallAgent, action

Serve = Callable[[AgentHandle, Request], Awaitable[Any]]


class InMemory(PoolStrategy):
    """Savers in memory; ``serving`` and ``checking`` are what a test puts in the place of the real ones."""

    name = "in_memory"
    serving: Serve | None = None
    checking: Callable[[], Awaitable[None]] | None = None

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return InMemorySaver()

    async def ensure_healthy(self) -> None:
        if self.checking is not None:
            await self.checking()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        if self.serving is None:
            return await request()
        reply: Reply = await self.serving(agent, request)
        return reply


def group_of(record: Recorder, strategy: type[PoolStrategy] = InMemory) -> Group:
    database = GroupDatabase("", 24, "g0", record)
    return Group("g0", strategy(database), database, [Replica(SmallAgent(), "g0", record)], record)


def caller_of(record: Recorder, group: Group, **bounds: float) -> tuple[Caller, Watchdog]:
    limits = Bounds(**{"deadline_s": 0.2, "hang_slow_s": 0.1, "hang_fail_s": 0.3, **bounds})  # type: ignore[arg-type]
    watchdog = Watchdog(
        record, record.clock, slow_s=limits.hang_slow_s, fail_s=limits.hang_fail_s, give_up=lambda _: None
    )
    caller = Caller(
        {"g0": group},
        bounds=limits,
        durability="async",
        recorder=record,
        traffic=CellTraffic([group]),
        watchdog=watchdog,
    )
    return caller, watchdog


async def call_with(serve: Serve | None) -> tuple[str, Rows]:
    """The outcome and the rows of one call under a strategy that serves like this."""
    record, rows = recorder()
    group = group_of(record)
    await group.open()
    assert isinstance(group.strategy, InMemory)
    group.strategy.serving = serve
    caller, _ = caller_of(record, group)
    outcome = await caller.call("u0", action())
    return outcome.status, rows


async def test_an_answer_is_ok() -> None:
    status, rows = await call_with(None)
    (done,) = rows.of("turn", OpType.OK)
    assert status == "ok"
    assert done.value["turns"] == ["SmallAgent.u0.0/t1"]


async def test_a_refusal_is_info_and_says_so() -> None:
    async def refuse(agent: AgentHandle, request: Request) -> Reply:
        return Degraded("database_unavailable", 1.0)

    status, rows = await call_with(refuse)
    (done,) = rows.of("turn", OpType.INFO)
    assert status == "info"
    assert done.value == {"refused": True, "code": "database_unavailable", "retry_after_s": 1.0}


async def test_an_error_before_any_write_is_fail_and_after_one_is_info() -> None:
    async def at_once(agent: AgentHandle, request: Request) -> Reply:
        raise OSError("refused")

    async def too_late(agent: AgentHandle, request: Request) -> Reply:
        await request()
        raise OSError("the answer was lost")

    assert (await call_with(at_once))[0] == "fail"
    assert (await call_with(too_late))[0] == "info"


async def test_who_is_asked_in_vain_past_a_bound_is_lost_once_nobody_else_is_still_to_be_seen() -> None:
    async def fails(agent: AgentHandle, request: Request) -> Reply:
        raise OSError("refused")

    record, _ = recorder()
    group = group_of(record)
    await group.open()
    assert isinstance(group.strategy, InMemory)
    caller, _ = caller_of(record, group)
    asked, other = ("g0", "SmallAgent"), ("g0", "AnotherAgent")
    assert not caller.lost_after(0.0, [asked]), "it was not asked"
    assert caller.unanswered_since_s() == 0.0
    await caller.call("u0", action())
    assert not caller.lost_after(0.0, [asked]), "it answered"
    group.strategy.serving = fails
    before_s = record.clock.now_s()
    await caller.call("u0", action(n=2))
    failed_s = caller.unanswered_since_s()
    assert before_s < failed_s <= record.clock.now_s()
    assert not caller.lost_after(failed_s, [asked]), "it may be back within the bound"
    assert caller.lost_after(before_s, [asked])
    assert not caller.lost_after(before_s, [asked, other]), "the other one has shown nothing"
    caller.answered_by[other] += 1
    assert caller.lost_after(before_s, [asked, other])


async def test_a_timeout_is_info_even_before_any_write() -> None:
    async def impatient(agent: AgentHandle, request: Request) -> Reply:
        raise TimeoutError("gave up")

    assert (await call_with(impatient))[0] == "info"


async def test_a_reply_that_is_none_is_an_undeclared_error() -> None:
    async def nothing(agent: AgentHandle, request: Request) -> Any:
        return None

    _, rows = await call_with(nothing)
    (done,) = [op for op in rows.of("turn") if op.type is not OpType.INVOKE]
    assert done.error is not None
    assert done.error.type == "TypeError"
    assert not done.error.declared


@pytest.mark.slow
async def test_a_hang_is_cancelled_only_after_its_bound_and_marked() -> None:
    async def hang(agent: AgentHandle, request: Request) -> Reply:
        await asyncio.sleep(60)
        return Answered("")

    began_s = time.monotonic()
    status, rows = await call_with(hang)
    took_s = time.monotonic() - began_s
    (done,) = rows.of("turn", OpType.INFO)
    assert done.value["hung"] is True
    assert status == "info", "it could be ended, so the thread may go on"
    assert 0.5 <= took_s < 2


async def test_an_attempt_that_serve_abandoned_is_dead_before_the_user_goes_on() -> None:
    left: list[Request] = []

    async def abandon(agent: AgentHandle, request: Request) -> Reply:
        SmallAgent.slow_s = 30.0
        left.append(request)
        asyncio.ensure_future(request()).add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.sleep(0.05)
        raise OSError("gave up")

    try:
        status, _ = await call_with(abandon)
    finally:
        SmallAgent.slow_s = 0.0
    assert status == "info", "an attempt was alive, so nobody knows"
    assert left[0].settled  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_a_strategy_that_raises_hangs_or_gives_no_saver_is_broken_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Raises(InMemory):
        async def open(self) -> None:
            raise OSError("no route")

    class Hangs(InMemory):
        async def open(self) -> None:
            await asyncio.sleep(60)

    class GivesNothing(InMemory):
        async def checkpointer(self, agent: AgentHandle) -> Any:
            return None

    monkeypatch.setattr(group_module, "OPEN_LIMIT_S", 0.2)
    record, _ = recorder()
    for strategy, reason in ((Raises, "OSError: no route"), (Hangs, "longer than 0.2 s"), (GivesNothing, "None")):
        with pytest.raises(StrategyBroken, match=reason):
            await group_of(record, strategy).open()


async def test_the_timer_never_checks_twice_at_once_but_orders_do() -> None:
    record, rows = recorder()
    group = group_of(record)
    assert isinstance(group.strategy, InMemory)
    group.strategy.checking = lambda: asyncio.sleep(0.05)
    await asyncio.gather(group.ensure_healthy(), group.ensure_healthy())
    assert len(rows.of("ensure_healthy", OpType.OK)) == 1
    await asyncio.gather(group.order_health_check(), group.order_health_check())
    assert len(rows.of("ensure_healthy", OpType.OK)) == 3


async def test_what_a_health_check_raises_is_a_row_and_no_more() -> None:
    async def fail() -> None:
        raise OSError("down")

    record, rows = recorder()
    group = group_of(record)
    assert isinstance(group.strategy, InMemory)
    group.strategy.checking = fail
    await group.ensure_healthy()
    (row,) = rows.of("ensure_healthy", OpType.INFO)
    assert row.error is not None
    assert row.error.message == "down"


@pytest.mark.slow
async def test_cancel_hard_sends_as_many_cancellations_as_it_takes() -> None:
    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    assert await cancel_hard(task, limit_s=3)
    assert task.done()


@pytest.mark.slow
async def test_the_watchdog_sees_overdue_calls_and_stalls_of_the_loop() -> None:
    record, rows = recorder()
    watchdog = Watchdog(record, record.clock, slow_s=0.1, fail_s=0.3, give_up=lambda _: None)
    watchdog.start()
    call = record.invoke("turn", "u0", {})
    watchdog.opened(call, deadline_s=0.1)
    await asyncio.sleep(0.7)
    watchdog.closed(call)
    time.sleep(0.6)  # noqa: ASYNC251 - the stall that is to be seen
    await asyncio.sleep(0.2)
    await watchdog.stop()
    overdue = [op.value["seconds"] for op in rows.of("overdue")]
    assert len(overdue) == 2, "once over the slow bound, once over the failing one"
    stalls = [op.value for op in rows.of("stall") if op.value["host"] is False]
    assert len(stalls) == 1
    assert 0.4 < float(str(stalls[0]["seconds"])) < 1.0


@pytest.mark.slow
async def test_a_dead_loop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.driving.watchdog.DEAD_LOOP_S", 0.3)
    record, _ = recorder()
    reasons: list[str] = []
    watchdog = Watchdog(record, record.clock, slow_s=1, fail_s=2, give_up=reasons.append)
    watchdog.start()
    await asyncio.sleep(0.1)
    time.sleep(0.8)  # noqa: ASYNC251
    await watchdog.stop()
    assert "time.sleep(0.8)" in reasons[0], "the reason shows where the loop is stuck"


@pytest.mark.slow
def test_the_sampler_writes_changes_and_failures() -> None:
    record, rows = recorder()
    seen: Iterator[dict[str, tuple[int, ...]]] = iter([{"g0": (1,)}, {"g0": (1,)}, {"g0": (1, 2)}])

    def read() -> dict[str, tuple[int, ...]]:
        try:
            return next(seen)
        except StopIteration:
            raise OSError("admin is gone") from None

    sampler = Sampler(read, record, RealClock())
    sampler.start()
    time.sleep(0.8)
    sampler.stop()
    values = [op.value for op in rows.of("connections")]
    assert values[:2] == [{"backends": {"g0": [1]}}, {"backends": {"g0": [1, 2]}}]
    assert values[2] == {"error": "OSError: admin is gone"}


async def test_what_nobody_awaits_is_seen() -> None:
    record, rows = recorder()

    async def forgotten() -> None: ...

    with background(record):
        forgotten()  # type: ignore[unused-coroutine]
        asyncio.get_running_loop().call_exception_handler({"message": "something broke"})
    whats = [str(op.value["what"]) for op in rows.of("background")]
    assert whats == ["never_awaited", "exception_handler"]
    assert not any(op.value["ours"] for op in rows.of("background"))
