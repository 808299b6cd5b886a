"""Every fault of a replica's process, on real ones: visible inside its window, gone after it, gone after a cancellation
in it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from harness.core.environment import Capability
from harness.core.errors import ComponentError, HealError, MissingComponent, UsageError
from harness.core.fault import Fault, Window, check_plan, fault_from_json, fault_to_json
from harness.core.history import OpType
from harness.driving.nursery import Nursery
from harness.driving.replica_link import PROBE_S
from harness.environments.stack import Stack
from harness.faults.replica_drain import ReplicaDrain
from harness.faults.replica_freeze import ReplicaFreeze
from harness.faults.replica_kill import ReplicaKill
from harness.faults.rolling_restart import RollingRestart
from harness.registry import default_registry
from tests.driving.replica_service import BOUNDS, Service, nursery_of, service
from tests.faults.cancelling import cancelled_while_installed, moments

ALL: tuple[Fault, ...] = (
    ReplicaKill(),
    ReplicaKill(replica=1),
    ReplicaDrain(),
    ReplicaDrain(replica=1),
    ReplicaFreeze(),
    ReplicaFreeze(replica=1),
    ReplicaFreeze(cut_ms=100),
    RollingRestart(pause_ms=50),
)

pytestmark = pytest.mark.slow


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with nursery_of() as found:
        yield found


def process_of(change: Mapping[str, Any]) -> Mapping[str, Any]:
    (process,) = change["processes"]
    found: Mapping[str, Any] = process
    return found


def name_of(fault: Fault) -> str:
    return "-".join(str(value) for value in fault_to_json(fault).values())


async def assert_healed(at: Service) -> None:
    """Both groups have a running process, and it serves."""
    for group in ("g0", "g1"):
        assert at.state(group) in "RSD"
        await at.serves(group)


@asynccontextmanager
async def users(at: Service) -> AsyncIterator[list[str]]:
    """Two of each group call all the time; how their calls ended."""
    over, statuses = asyncio.Event(), list[str]()

    async def user(group: str) -> None:
        while not over.is_set():
            statuses.append((await at.calling(group)).status)

    tasks = [asyncio.ensure_future(user(group)) for group in ("g0", "g0", "g1", "g1")]
    try:
        yield statuses
    finally:
        over.set()
        await asyncio.gather(*tasks)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_killed_replica_is_gone_inside_the_window_and_another_one_serves_after_it(
    stack: Stack, nursery: Nursery
) -> None:
    async with service(stack, nursery) as at:
        before = at.pid("g0")
        calls = await at.busy("g0")
        async with ReplicaKill().active(at.env) as witness:
            process = process_of(witness.change)
            assert (process["pid"], process["status"], process["in_flight"]) == (before, -9, 2)
            assert gone(before)
            assert [(await call).status for call in calls] == ["info", "info"]
            for end in at.ends():
                assert end.value == {"lost": "reset", "ordered": True}
                assert end.error is not None
                assert end.error.type == "ConnectionResetError"
            assert (await at.calling("g0")).status == "ok", "somebody else takes it"
            assert at.rows.of("turn")[-2].value["asked"] == "g0"
            assert at.rows.of("turn")[-2].value["group"] == "g1"
        assert at.pid("g0") != before
        await assert_healed(at)
        (ended,) = at.events("ended")
        assert ended["status"] == -9
        assert len(ended["lost"]) == 2


async def test_a_drained_replica_answers_what_it_has_and_ends_by_itself(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        before = at.pid("g1")
        calls = await at.busy("g1")
        async with ReplicaDrain(replica=1).active(at.env) as witness:
            process = process_of(witness.change)
            assert (process["group"], process["pid"], process["status"]) == ("g1", before, 0)
            assert process["in_flight"] == 2
            assert gone(before)
            assert [(await call).status for call in calls] == ["ok", "ok"]
            assert [op.process for op in at.rows.of("close")] == ["g1", "g1"], "its strategy was closed"
            assert (await at.calling("g1")).status == "ok"
            assert at.rows.of("turn")[-2].value["asked"] == "g1"
        await assert_healed(at)


async def test_a_frozen_replica_stands_still_and_its_callers_give_up_at_their_deadline(
    stack: Stack, nursery: Nursery
) -> None:
    async with service(stack, nursery) as at:
        before = at.pid("g0")
        calls = await at.busy("g0")
        async with ReplicaFreeze().active(at.env) as witness:
            assert process_of(witness.change)["state"] == at.state("g0") == "T"
            await asyncio.sleep(PROBE_S)
            assert (await at.calling("g0")).status == "ok", "by now it is known to be silent"
            assert not any(call.done() for call in calls)
            assert [(await call).status for call in calls] == ["info", "info"]
            assert [end.value.get("lost") for end in at.ends()] == [None, "no_answer", "no_answer"]
            began = {op.call: op.time_s for op in at.rows.of("turn")[:2]}
            for end in at.ends()[1:]:
                assert end.time_s - began[end.call] == pytest.approx(BOUNDS.deadline_s, abs=0.5)
        assert at.pid("g0") == before
        await assert_healed(at)
        assert not [op for op in at.rows.of("stall") if op.value.get("host") and not op.value.get("starved")], (
            "a process that was stopped says nothing of the machine"
        )


async def test_a_gateway_cuts_those_who_wait_for_a_frozen_replica(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        calls = await at.busy("g0")
        async with ReplicaFreeze(cut_ms=100).active(at.env) as witness:
            assert witness.change["cut"] == 2
            assert [(await call).status for call in calls] == ["info", "info"]
            assert {str(end.value["lost"]) for end in at.ends()} == {"reset"}
        await assert_healed(at)
        await asyncio.sleep(0.3)  # what it had begun it finishes, and nobody hears it
        assert [late["kind"] for late in at.events("late_answer")] == ["ok", "ok"]


async def test_a_rolling_restart_replaces_every_process_and_nobody_notices(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        before = {group: at.pid(group) for group in ("g0", "g1")}
        async with users(at) as statuses, RollingRestart(pause_ms=50).active(at.env) as witness:
            processes = [process for process in witness.change["processes"] if isinstance(process, dict)]  # type: ignore[union-attr]
            assert [process["group"] for process in processes] == ["g0", "g1"]
            assert [process["status"] for process in processes] == [0, 0]
        assert set(statuses) == {"ok"}, str(
            [(end.time_s, end.value, end.error) for end in at.ends() if end.type is not OpType.OK]
        )
        assert all(at.pid(group) != pid and gone(pid) for group, pid in before.items())
        await assert_healed(at)


@pytest.mark.parametrize("fault", ALL, ids=name_of)
async def test_a_cancellation_inside_the_window_heals_too(fault: Fault, stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        inside = asyncio.Event()

        async def stay() -> None:
            async with fault.active(at.env):
                inside.set()
                await asyncio.sleep(60)

        async with users(at):
            staying = asyncio.ensure_future(stay())
            await asyncio.wait_for(inside.wait(), 20.0)
            staying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await staying
        await assert_healed(at)


@pytest.mark.parametrize("fault", ALL, ids=name_of)
@pytest.mark.parametrize("after_s", moments(0.05, 0.0, 0.2, 0.5))
async def test_a_cancellation_while_it_is_installed_heals_too(
    fault: Fault, after_s: float, stack: Stack, nursery: Nursery
) -> None:
    async with service(stack, nursery) as at:
        async with users(at):
            await asyncio.sleep(0.1)
            await cancelled_while_installed(fault, at.env, after_s)
            now = {group: at.pid(group) for group in ("g0", "g1")}
            assert all(at.replicas.takes_calls(group) for group in now)
            await asyncio.sleep(1.0)  # longer than a call, which is what a process that was told to end waits for
        assert {group: at.pid(group) for group in now} == now, "what there is when it has healed stays"
        await assert_healed(at)
        begun, ended = at.events("started"), at.events("ended")
        assert {row["pid"] for row in begun} - {row["pid"] for row in ended} == set(now.values()), "and nothing else"


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.1])
async def test_a_start_that_is_cancelled_leaves_no_second_process(
    after_s: float, stack: Stack, nursery: Nursery
) -> None:
    """As when a rolling restart is cancelled while it waits for the next process."""
    async with service(stack, nursery) as at:
        await at.replicas.kill("g0")
        starting = asyncio.ensure_future(at.replicas.start("g0"))
        await asyncio.sleep(after_s)
        starting.cancel()
        await at.replicas.start("g0")
        assert set(at.replicas.pids()) == {at.pid("g0"), at.pid("g1")}
        assert len(at.events("started")) == 3
        await assert_healed(at)


async def test_a_replica_that_cannot_be_started_again_would_not_heal(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        with pytest.raises(HealError, match="the process of replica 0 would not heal"):
            async with ReplicaKill().active(at.env):
                nursery.close()


async def test_what_takes_no_calls_cannot_be_hit(stack: Stack, nursery: Nursery) -> None:
    async with service(stack, nursery) as at:
        await at.replicas.kill("g0")
        with pytest.raises(ComponentError, match="takes no calls"):
            await at.replicas.freeze("g0")
        await at.replicas.start("g0")
        await at.replicas.start("g0")  # idempotent
        await at.replicas.thaw("g0")
        await assert_healed(at)


async def test_there_are_none_where_they_were_not_asked_for(stack: Stack) -> None:
    async with stack.cell("plain", groups=("g0",)) as env:
        assert Capability.REPLICA_PROCESS not in env.capabilities
        with pytest.raises(MissingComponent) as raised:
            _ = env.replicas
        assert "REPLICA_PROCESS" in raised.value.fix


@pytest.mark.parametrize(
    ("kind", "field", "value", "allowed"),
    [
        ("replica_kill", "replica", 2, "0 to 1"),
        ("replica_drain", "replica", -1, "0 to 1"),
        ("replica_freeze", "replica", 7, "0 to 1"),
        ("replica_freeze", "cut_ms", -1, "0 to 60000"),
        ("rolling_restart", "pause_ms", 60_001, "0 to 60000"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, field: str, value: int, allowed: str) -> None:
    with pytest.raises(UsageError, match=f"{field} is {value}; allowed: {allowed}"):
        fault_from_json({"kind": kind, field: value}, default_registry().faults)


def test_one_process_is_hit_once_at_a_time() -> None:
    with pytest.raises(UsageError, match="the process of replica 0"):
        check_plan((Window(ReplicaKill(), 0.0, 2.0), Window(ReplicaFreeze(), 1.0, 3.0)))
    check_plan((Window(ReplicaKill(), 0.0, 2.0), Window(ReplicaFreeze(replica=1), 1.0, 3.0)))


@pytest.mark.parametrize("replica", [0, 1])
def test_no_process_is_hit_while_all_are_replaced(replica: int) -> None:
    with pytest.raises(UsageError, match=f"the process of replica {replica}"):
        check_plan((Window(RollingRestart(), 0.0, 2.0), Window(ReplicaKill(replica=replica), 1.0, 3.0)))
    check_plan((Window(RollingRestart(), 0.0, 2.0), Window(ReplicaKill(replica=replica), 2.0, 3.0)))
