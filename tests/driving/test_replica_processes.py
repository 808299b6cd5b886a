"""Replica groups as real processes: calls and rows cross over, what dies is told and started again, all die with the
cell.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.core.history import OpType
from harness.core.pool import AgentHandle, Database, Reply, Request
from harness.driving.group import StrategyBroken
from harness.driving.nursery import Nursery
from harness.driving.replica_process import DEAD_LOOP, NUMBERS
from harness.environments.stack import Stack
from harness.pools.self_healing import SelfHealing
from tests.driving.replica_service import nursery_of, service
from tests.driving.small_agent import SmallAgent

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with nursery_of() as found:
        yield found


async def until(true: Callable[[], bool], limit_s: float = 10.0) -> None:
    stop_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < stop_s, f"it did not come true within {limit_s:g} s"
        await asyncio.sleep(0.01)


async def test_a_call_is_recorded_here_and_its_savers_there(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        assert (await at.calling("g0")).status == "ok"
        (asked,) = at.rows.of("turn", OpType.INVOKE)
        (answered,) = at.rows.of("turn", OpType.OK)
        saves = at.rows.of("aput", OpType.INVOKE)
        assert asked.value["group"] == "g0"
        assert answered.value["turns"] == ["SmallAgent.u0.0/t1"]
        assert {op.value["parent"] for op in saves} == {asked.call}
        assert {op.process for op in saves} == {"g0/SmallAgent"}
        assert all(asked.index < op.index < answered.index for op in saves)
        assert all(asked.time_s <= op.time_s <= answered.time_s for op in saves), "one clock for all processes"
        numbers = [op.call for op in at.rows.ops if op.type is OpType.INVOKE]
        assert len(set(numbers)) == len(numbers)
        assert all(op.call is not None and op.call >= NUMBERS for op in saves)


async def test_connections_of_the_processes_count_as_the_cells_own(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        await asyncio.gather(at.calling("g0"), at.calling("g1"))
        found = await asyncio.to_thread(at.env.backends)
        assert all(found[group] for group in ("g0", "g1"))
        routes = await asyncio.to_thread(at.env.routes)
        assert routes.through == {"g0", "g1"}
        assert routes.past == ()
        assert sorted(at.replicas.pids()) == sorted(at.pid(group) for group in ("g0", "g1"))


async def test_orders_reach_the_strategy(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        await at.env.traffic.recreate("g1")
        await at.env.traffic.ensure_healthy("g0")
        (recreated,) = at.rows.of("recreate", OpType.INVOKE)
        assert (recreated.process, recreated.value["ordered"]) == ("g1", True)
        assert len(at.rows.of("recreate", OpType.OK)) == 1
        assert [op.process for op in at.rows.of("ensure_healthy", OpType.INVOKE) if op.value] == ["g0"]


class OneConnection(SelfHealing):
    """So that requests queue."""

    settings: ClassVar[Mapping[str, Any]] = {**SelfHealing.settings, "min_size": 1, "max_size": 2}


async def test_who_waits_is_known_here(stack: Stack) -> None:
    with nursery_of(OneConnection, SmallAgent) as nursery:
        async with service(stack, nursery) as at:
            calls = [at.calling("g0") for _ in range(20)]
            await until(lambda: at.env.traffic.saver_waiters("g0") + at.env.traffic.waiters("g0") > 0)
            assert at.env.replicas.in_flight("g0") > 0
            await asyncio.gather(*calls)
            await until(lambda: at.env.traffic.saver_waiters("g0") == at.env.traffic.waiters("g0") == 0)


async def test_a_process_that_ends_by_itself_is_started_again(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        before = at.pid("g0")
        calls = await at.busy("g0")
        os.kill(before, signal.SIGKILL)
        assert [(await call).status for call in calls] == ["info", "info"]
        for end in at.ends():
            assert end.value == {"lost": "reset"}, "nobody ordered that, so it excuses nobody"
        await until(lambda: at.env.replicas.takes_calls("g0"))
        assert at.pid("g0") != before
        await at.serves("g0")
        (ended,) = at.events("ended")
        assert (ended["status"], ended["ordered"], len(ended["lost"])) == (-9, False, 2)


async def test_where_nobody_takes_calls_they_are_refused(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        for group in ("g0", "g1"):
            await at.replicas.kill(group)
        assert (await at.calling("g1")).status == "fail"
        (end,) = at.ends()
        assert end.value == {"lost": "refused"}
        assert end.error is not None
        assert end.error.type == "ConnectionRefusedError"
        for group in ("g0", "g1"):
            await at.replicas.start(group)
        await at.serves("g1")


class NeverOpens(SelfHealing):
    name = "never_opens"

    async def open(self) -> None:
        raise RuntimeError("no such host")


class NeverMade(SelfHealing):
    name = "never_made"

    def __init__(self, database: Database) -> None:
        raise RuntimeError("no such class")


@pytest.mark.parametrize(("strategy", "why"), [(NeverOpens, "no such host"), (NeverMade, "no such class")])
async def test_a_strategy_that_cannot_begin_is_broken(strategy: type[SelfHealing], why: str, stack: Stack) -> None:
    with nursery_of(strategy) as nursery, pytest.raises(StrategyBroken, match=why):
        async with service(stack, nursery):
            pass


class Refuses(SelfHealing):
    """Raises before anything was begun."""

    name = "refuses"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        raise OSError("no")


async def test_an_error_before_any_write_is_fail_there_too(stack: Stack) -> None:
    with nursery_of(Refuses) as nursery:
        async with service(stack, nursery) as at:
            assert (await at.calling("g0")).status == "fail"
            (end,) = at.ends()
            assert end.error is not None
            assert (end.error.type, end.error.declared) == ("OSError", False)


class Dies(SelfHealing):
    """Takes the whole process with it."""

    name = "dies"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        os._exit(DEAD_LOOP)


async def test_a_strategy_that_ends_its_process_is_seen_and_excused_by_nobody(stack: Stack) -> None:
    with nursery_of(Dies) as nursery:
        async with service(stack, nursery) as at:
            assert (await at.calling("g0")).status == "info"
            (end,) = at.ends()
            assert end.value == {"lost": "reset"}
            await until(lambda: bool(at.events("ended")))
            assert at.events("ended")[0]["status"] == DEAD_LOOP


async def test_a_stop_longer_than_the_watchdog_allows_is_no_dead_loop(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.driving.watchdog.DEAD_LOOP_S", 0.8)
    with nursery_of() as nursery:
        async with service(stack, nursery) as at:
            before = at.pid("g0")
            await at.replicas.freeze("g0")
            await asyncio.sleep(1.5)
            await at.replicas.thaw("g0")
            await at.serves("g0")
            assert at.pid("g0") == before
            assert not [op for op in at.rows.of("stall") if float(str(op.value["seconds"])) > 1.0], (
                "nor did its loop stall"
            )


_CELL = """
import json, os, signal, socket, sys, time
from harness.driving.nursery import Nursery

def live(order, channel):
    while True:
        time.sleep(60)

nursery = Nursery.fork(live)
channels = [nursery.start({"name": n}) for n in (1, 2)]
pids = [json.loads(nursery._control.recv(65536))["pid"] for _ in (1, 2)]
nursery.signal(1, signal.SIGSTOP)
print(json.dumps([nursery._pid, *pids]), flush=True)
time.sleep(60)
"""


def processes_of_a_cell() -> tuple[subprocess.Popen[str], list[int]]:
    cell = subprocess.Popen([sys.executable, "-c", _CELL], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert cell.stdout is not None
    pids: list[int] = [int(pid) for pid in cell.stdout.readline().strip("[]\n").split(",")]
    return cell, pids


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_they_all_die_with_the_cell_also_those_that_stand_still(number: signal.Signals) -> None:
    cell, pids = processes_of_a_cell()
    try:
        assert all(runs(pid) for pid in pids)
        assert len(set(pids)) == 3
        cell.send_signal(number)
        cell.wait(5.0)
        stop_s = time.monotonic() + 5.0
        while any(runs(pid) for pid in pids) and time.monotonic() < stop_s:
            time.sleep(0.01)
        assert not [pid for pid in pids if runs(pid)]
    finally:
        cell.kill()
        assert cell.stdout is not None
        cell.stdout.close()


def test_a_nursery_that_is_closed_ends_its_replicas_and_takes_no_orders() -> None:
    def live(order: Any, channel: Any) -> Any:
        while True:
            time.sleep(60)

    nursery = Nursery.fork(live)
    channel = nursery.start({"name": 1})
    nursery.close()
    nursery.close()
    assert channel.recv(1) == b"", "its end is closed"
    channel.close()
    with pytest.raises(Exception, match="takes no orders"):
        nursery.start({"name": 2})
