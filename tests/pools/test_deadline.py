"""Deadlines end whatever they are given: code that swallows cancellations, code on another loop, callers who leave."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from harness.environments.cell import CellEnvironment
from harness.pools import deadline
from harness.pools.deadline import GIVE_UP_S, PAUSE_S, BoundedSaver, HardTimeout, call_home, hard_deadline, inside

SLACK_S = 0.6  # the machine may be busy


class Stubborn:
    """Swallows ``cancels`` cancellations, each time as psycopg does: it waits on for something else."""

    def __init__(self, cancels: int, then: BaseException | str | None = None) -> None:
        self.seen = 0
        self._cancels = cancels
        self._then = then

    async def __call__(self) -> str:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.seen += 1
                if self.seen > self._cancels:
                    if isinstance(self._then, BaseException):
                        raise self._then from None
                    if isinstance(self._then, str):
                        return self._then
                    raise


async def _elapsed(step: Callable[[], Awaitable[Any]]) -> tuple[float, BaseException | Any]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        result: Any = await step()
    except BaseException as error:
        result = error
    return loop.time() - began_s, result


async def test_what_the_step_gives_is_passed_on() -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise LookupError("its own")

    assert await hard_deadline(answer, 1.0) == 42
    with pytest.raises(LookupError, match="its own"):
        await hard_deadline(fail, 1.0)


@pytest.mark.parametrize("cancels", [0, 1, 3])
async def test_each_swallowed_cancellation_costs_a_pause_and_no_more(cancels: int) -> None:
    step = Stubborn(cancels)
    took_s, error = await _elapsed(lambda: hard_deadline(step, 0.05))
    assert isinstance(error, TimeoutError)
    assert step.seen == cancels + 1
    assert 0.05 <= took_s <= 0.05 + cancels * PAUSE_S + SLACK_S


@pytest.mark.slow
async def test_a_step_that_never_ends_is_given_up_on_and_its_exception_is_taken() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    step = Stubborn(6, ValueError("late and of no interest"))
    took_s, error = await _elapsed(lambda: hard_deadline(step, 0.05))
    assert isinstance(error, TimeoutError)
    assert took_s <= 0.05 + GIVE_UP_S + SLACK_S
    assert step.seen <= 6
    assert len(deadline._given_up) == 1
    gc.collect()  # it is kept alive, so this must not destroy it
    await asyncio.sleep(1.0)
    assert step.seen == 7
    assert not deadline._given_up
    gc.collect()
    assert told == []


async def test_an_answer_that_comes_at_the_last_moment_counts() -> None:
    assert await hard_deadline(Stubborn(0, "stored"), 0.02) == "stored"


async def test_what_a_step_raises_when_it_is_cut_off_is_the_cause_of_the_timeout() -> None:
    with pytest.raises(TimeoutError) as caught:
        await hard_deadline(Stubborn(0, ValueError("cut off")), 0.02)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_caller_that_is_cancelled_ends_the_step_in_the_same_way() -> None:
    step = Stubborn(1)
    task = asyncio.create_task(hard_deadline(step, 60.0))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task}, timeout=PAUSE_S + SLACK_S)
    assert task.cancelled()
    assert step.seen == 2


@pytest.mark.slow
async def test_a_caller_that_is_cancelled_twice_leaves_at_once_and_the_step_still_ends() -> None:
    step = Stubborn(2)
    task = asyncio.create_task(hard_deadline(step, 60.0))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task}, timeout=0.1)
    assert task.cancelled()
    assert step.seen == 1
    await asyncio.sleep(2 * PAUSE_S + 0.2)
    assert step.seen == 3
    assert not deadline._given_up


def _on_a_second_loop(work: Callable[[], Awaitable[Any]]) -> asyncio.Future[Any]:
    """Run ``work`` on a new thread's own loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    async def main() -> Any:
        return await _elapsed(work)

    def run() -> None:
        result = asyncio.run(main())
        loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return done


async def test_a_step_is_brought_home() -> None:
    home = asyncio.get_running_loop()

    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    _, loop = await _on_a_second_loop(lambda: hard_deadline(where, 1.0, home=home))
    assert loop is home
    assert await hard_deadline(where, 1.0, home=home) is home


async def test_the_deadline_and_the_hard_end_hold_across_loops() -> None:
    home, step = asyncio.get_running_loop(), Stubborn(1)
    took_s, error = await _on_a_second_loop(lambda: hard_deadline(step, 0.05, home=home))
    assert isinstance(error, TimeoutError)
    assert step.seen == 2
    assert took_s <= 0.05 + PAUSE_S + SLACK_S


async def test_a_cancelled_caller_on_another_loop_ends_the_step_at_home() -> None:
    home, step = asyncio.get_running_loop(), Stubborn(0)

    async def leave() -> None:
        task = asyncio.create_task(hard_deadline(step, 60.0, home=home))
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    _, error = await _on_a_second_loop(leave)
    assert isinstance(error, asyncio.CancelledError)
    await asyncio.sleep(0.05)
    assert step.seen == 1


@pytest.mark.slow
async def test_a_home_loop_that_does_not_turn_holds_nobody() -> None:
    home = asyncio.new_event_loop()  # nobody runs it
    try:
        took_s, error = await _on_a_second_loop(lambda: hard_deadline(Stubborn(0), 0.05, home=home))
        assert isinstance(error, TimeoutError)
        assert took_s <= 0.05 + 2 * GIVE_UP_S + SLACK_S
    finally:
        _drain(home)


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop that never ran take note of what was cancelled, on a thread of its own, and close it."""

    def run() -> None:
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


async def test_a_closed_home_is_an_error_and_nothing_is_left_unawaited() -> None:
    home = asyncio.new_event_loop()
    home.close()
    with pytest.raises(RuntimeError, match="closed"):
        await hard_deadline(Stubborn(0), 1.0, home=home)


async def test_call_home_calls_at_once_or_there() -> None:
    home, calls = asyncio.get_running_loop(), list[int]()

    async def elsewhere() -> None:
        call_home(home, lambda: calls.append(threading.get_ident()))

    call_home(home, lambda: calls.append(threading.get_ident()))
    assert calls == [threading.get_ident()]
    await _on_a_second_loop(elsewhere)
    assert calls == [threading.get_ident()] * 2


async def test_a_hard_timeout_strikes_until_the_block_is_left() -> None:
    step = Stubborn(1)

    async def block() -> None:
        async with HardTimeout() as bound:
            bound.start(0.05)
            await step()

    task = asyncio.create_task(_elapsed(block))
    took_s, error = await task
    assert isinstance(error, TimeoutError)
    assert step.seen == 2
    assert took_s <= 0.05 + PAUSE_S + SLACK_S
    assert task.cancelling() == 0


async def test_a_hard_timeout_begins_when_it_is_told_to_and_forgets_its_timer() -> None:
    async with HardTimeout() as bound:
        await asyncio.sleep(0.05)  # longer than what follows
        bound.start(0.02)
    await asyncio.sleep(0.04)


async def test_a_hard_timeout_passes_somebody_elses_cancellation_on() -> None:
    async def block() -> None:
        async with HardTimeout() as bound:
            bound.start(60.0)
            await asyncio.sleep(60)

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("deadline_s", "expected_s"), [(8.0, 7.7), (2.0, 1.7), (0.2, 0.1)])
def test_a_request_leaves_time_for_its_ending(deadline_s: float, expected_s: float) -> None:
    assert inside(deadline_s) == pytest.approx(expected_s)


@pytest.mark.slow
async def test_a_server_that_takes_no_writes_is_an_operational_error(cell_env: CellEnvironment) -> None:
    """After a failover the old primary lives on: what it says is no OperationalError, and SELECT 1 passes there."""
    conninfo = make_conninfo(cell_env.conninfo("g0"), options="-c default_transaction_read_only=on")
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        conninfo, min_size=1, max_size=1, open=False, kwargs={"autocommit": True, "row_factory": dict_row}
    )
    async with pool:
        saver = BoundedSaver(pool)
        config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        for save in (
            lambda: saver.aput(config, empty_checkpoint(), {}, {}),
            lambda: saver.adelete_thread("t"),
        ):
            with pytest.raises(psycopg.OperationalError, match="takes no writes") as raised:
                await save()
            assert isinstance(raised.value.__cause__, psycopg.errors.ReadOnlySqlTransaction)
        with pytest.raises(psycopg.OperationalError, match="takes no writes"):
            await saver.aget_tuple(config)  # it would be the past


@pytest.mark.slow
async def test_a_process_that_wakes_up_after_the_deadline_begins_no_save(cell_env: CellEnvironment) -> None:
    """Standing still is what SIGSTOP does to a loop: when it goes on, the step comes first and its timer second."""
    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        cell_env.conninfo("g0"), min_size=1, max_size=1, open=False, kwargs=settings
    )
    async with pool:
        saver = BoundedSaver(pool)
        await saver.setup()
        config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        refused: list[BaseException] = []

        async def turn(stood_s: float) -> None:
            time.sleep(stood_s)  # noqa: ASYNC251 - it blocks the loop on purpose
            try:
                put = await saver.aput(config, empty_checkpoint(), {}, {})
                await saver.aput_writes(put, [("messages", "x")], "task")
            except TimeoutError as error:
                refused.append(error)
                raise

        await hard_deadline(lambda: turn(0.0), 5.0)
        (kept,) = [found async for found in saver.alist(config)]
        with pytest.raises(TimeoutError, match="others may have gone on"):
            await hard_deadline(lambda: turn(0.4), 0.3)
        with pytest.raises(TimeoutError, match="others may have gone on"):  # the outer deadline counts
            await hard_deadline(lambda: hard_deadline(lambda: turn(0.4), 5.0), 0.3)
        assert len(refused) == 2
        assert [found.config async for found in saver.alist(config)] == [kept.config]
