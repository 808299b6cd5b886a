"""Calls that are cut short: at just the chosen await, as often as was ordered, and drawn from the seed alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from harness.core.environment import Cut
from harness.core.errors import MissingComponent
from harness.core.history import OpType
from harness.core.pool import AgentHandle, Answered, PoolStrategy, Reply, Request
from harness.core.scenario import Bounds
from harness.driving.awaits import counted
from harness.driving.caller import Caller
from harness.driving.client import CellClient
from harness.driving.database import GroupDatabase
from harness.driving.group import Group
from harness.driving.replica import Replica
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from tests.driving.rows import Rows, recorder
from tests.driving.small_agent import SmallAgent, action


async def steps(seen: list[int], total: int = 5) -> str:
    for n in range(total):
        await asyncio.sleep(0.001 if n % 2 else 0)
        seen.append(n)
    return "done"


async def test_each_await_is_counted_and_nothing_else_changes() -> None:
    seen: list[int] = []
    ticks: list[int] = []
    assert await counted(steps(seen), lambda: ticks.append(len(seen))) == "done"
    assert ticks == [0, 1, 2, 3, 4], "told before each suspension"


@pytest.mark.parametrize("at", range(1, 6))
async def test_a_task_is_cancelled_at_just_that_await(at: int) -> None:
    seen: list[int] = []
    ticks = 0

    def on_await() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == at:
            task.cancel()

    task = asyncio.ensure_future(counted(steps(seen), on_await))
    await asyncio.wait({task})
    assert task.cancelled()
    assert seen == list(range(at - 1))


async def test_an_error_passes_and_one_that_is_caught_does_not_end_the_work() -> None:
    async def breaks() -> None:
        await asyncio.sleep(0)
        raise KeyError("mine")

    async def survives() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "swallowed it"

    with pytest.raises(KeyError, match="mine"):
        await counted(breaks(), lambda: None)
    task = asyncio.ensure_future(counted(survives(), lambda: None))
    await asyncio.sleep(0.01)
    task.cancel()
    assert await task == "swallowed it"


class Serving(PoolStrategy):
    """Answers after some awaits, and keeps its answer from a cancellation if ``stubborn``."""

    name = "serving"
    stubborn = False
    cancelled = 0

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return InMemorySaver()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        try:
            for _ in range(10):
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            type(self).cancelled += 1
            if not self.stubborn:
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                finally:
                    raise
        return Answered("fine")


async def calls(how: Cut | None, *, n: int = 1, seed: int = 3, strategy: type[Serving] = Serving) -> Rows:
    """The rows of ``n`` calls under this order."""
    record, rows = recorder()
    database = GroupDatabase("", 24, "g0", record)
    group = Group("g0", strategy(database), database, [Replica(SmallAgent(), "g0", record)], record)
    await group.open()
    bounds = Bounds(deadline_s=2.0)
    watchdog = Watchdog(record, record.clock, slow_s=1.0, fail_s=2.0, give_up=lambda _: None)
    traffic = CellTraffic([group])
    client = CellClient([group], watchdog, seed)
    traffic.called_by(client)
    client.cut(how)
    caller = Caller(
        {"g0": group}, bounds=bounds, durability="async", recorder=record, traffic=traffic, watchdog=watchdog
    )
    for number in range(n):
        await caller.call("u0", action(n=number))
    return rows


def cancelled(rows: Rows) -> list[Any]:
    return [op.value.get("cancelled") for op in rows.of("turn") if op.type is not OpType.INVOKE]


async def test_a_call_that_is_let_alone_is_answered() -> None:
    assert cancelled(await calls(None)) == [None]


async def test_a_cancelled_call_is_in_doubt_and_says_by_whom() -> None:
    rows = await calls(Cut(share=1.0, awaits=4))
    (done,) = rows.of("turn", OpType.INFO)
    assert done.value == {"cancelled": 1, "by": "client"}
    assert done.error is not None
    assert done.error.type == "CancelledError"


async def test_the_second_cancellation_comes_while_the_first_is_handled() -> None:
    Serving.cancelled = 0
    rows = await calls(Cut(share=1.0, awaits=4, again=1), n=3)
    assert cancelled(rows) == [2, 2, 2]
    assert Serving.cancelled == 3, "the second one met the ending of the first"


async def test_an_answer_reaches_nobody_whose_client_has_gone() -> None:
    class Stubborn(Serving):
        stubborn = True

    rows = await calls(Cut(share=1.0, awaits=4), strategy=Stubborn)
    (done,) = rows.of("turn", OpType.INFO)
    assert done.value["cancelled"] == 1


async def test_a_service_that_gives_less_time_sees_its_own_timeout() -> None:
    rows = await calls(Cut(share=1.0, timeout_ms=10))
    (done,) = rows.of("turn", OpType.INFO)
    assert done.value == {"cancelled": 1, "by": "timeout"}
    assert done.error is not None
    assert done.error.type == "TimeoutError"


async def test_a_service_has_the_answer_that_came_in_spite_of_its_timeout() -> None:
    class Stubborn(Serving):
        stubborn = True

    rows = await calls(Cut(share=1.0, timeout_ms=10), strategy=Stubborn)
    assert cancelled(rows) == [None]
    assert rows.of("turn", OpType.OK)


async def test_a_call_that_has_fewer_awaits_ends_by_itself() -> None:
    assert cancelled(await calls(Cut(share=1.0, timeout_ms=1_900))) == [None]


async def test_who_goes_and_when_is_drawn_from_the_seed() -> None:
    how = Cut(share=0.5, awaits=6)
    first, again, other = [cancelled(await calls(how, n=12, seed=seed)) for seed in (1, 1, 2)]
    assert first == again
    assert first != other
    assert {None, 1} == set(first)


async def test_what_was_ordered_is_counted_and_ends_with_the_order() -> None:
    client = CellClient([], None, 1)  # type: ignore[arg-type]  # no loop to stall here
    client.cut(Cut(share=1.0, awaits=2))
    visit = client.visit("u0", action())
    assert visit is not None

    async def slow() -> Reply:
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        return Answered("fine")

    row = recorder()[0].invoke("turn", "u0", {})
    task = visit.start(row, slow())
    client.cut(None)
    assert await task == Answered("fine"), "nobody is cut any more, not even who is under way"
    assert client.visit("u0", action(n=2)) is None
    assert client.cuts() == {"begun": 1, "cut": 0, "twice": 0}


@pytest.mark.slow
async def test_a_timeout_is_lifted_with_the_order() -> None:
    client = CellClient([], None, 1)  # type: ignore[arg-type]
    client.cut(Cut(share=1.0, timeout_ms=400))
    visit = client.visit("u0", action())
    assert visit is not None

    async def slow() -> Reply:
        await asyncio.sleep(0.6)
        return Answered("fine")

    task = visit.start(recorder()[0].invoke("turn", "u0", {}), slow())
    await asyncio.sleep(0.005)
    client.cut(None)
    assert await task == Answered("fine")


def test_where_agents_live_elsewhere_nobody_can_be_cut() -> None:
    with pytest.raises(MissingComponent, match="another process"):
        _ = CellTraffic([]).client


@pytest.mark.slow
async def test_a_stall_that_was_ordered_says_so_and_one_that_was_not_does_not() -> None:
    import time

    record, rows = recorder()
    watchdog = Watchdog(record, record.clock, slow_s=1.0, fail_s=2.0, give_up=lambda _: None)
    watchdog.start()
    await asyncio.sleep(0.1)
    watchdog.stall(0.5)
    await asyncio.sleep(0.2)
    time.sleep(0.4)  # noqa: ASYNC251 - the stall is what is tested
    await asyncio.sleep(0.2)
    await watchdog.stop()
    mine = [op.value for op in rows.of("stall") if op.value["host"] is False]
    assert len(mine) == 2
    assert float(str(mine[0]["ordered_s"])) == pytest.approx(0.5, abs=0.1)
    assert "ordered_s" not in mine[1]
