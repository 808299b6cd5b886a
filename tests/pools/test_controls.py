"""Each control is caught at what it says that it breaks: a harness that cannot see these sees nothing."""

from __future__ import annotations

import asyncio

import pytest

from harness.core.environment import Toxic
from harness.core.pool import PoolStrategy
from harness.core.verdict import Guarantee
from harness.environments.stack import Stack
from harness.pools.controls.graceful_degradation import GracefulDegradation
from harness.pools.controls.instance_tracking_naive import InstanceTrackingNaive
from harness.pools.controls.naive_recreate import NaiveRecreate
from harness.pools.controls.pool_reference_naive import PoolReferenceNaive
from harness.pools.controls.shared_saver import SharedSaver
from tests.pools.pool_driving import CANDIDATES, CONTROLS, serving, statuses

SLOW_ANSWERS = Toxic(name="slow", type="latency", stream="downstream", attributes={"latency": 300})


def test_controls_say_what_they_break_and_candidates_break_nothing() -> None:
    assert all(control.breaks for control in CONTROLS)
    assert not any(candidate.breaks for candidate in CANDIDATES)
    caught_by_leak = {control.name for control in CONTROLS if Guarantee.NO_POOL_CLOSED in control.breaks}
    assert caught_by_leak == {"naive_recreate", "instance_tracking_naive", "pool_reference_naive"}


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
async def test_a_control_works_as_long_as_nothing_happens(stack: Stack, control: type[PoolStrategy]) -> None:
    async with serving(stack, control) as service:
        for _ in range(2):
            assert statuses(await service.call_all()) == ["ok"] * 5
            await service.group.ensure_healthy()
        assert service.strategy.stats().get("recreated", 0) == 0


@pytest.mark.slow
async def test_naive_recreate_leaks_for_ever(stack: Stack) -> None:
    async with serving(stack, NaiveRecreate) as service:
        await service.call_all()
        await service.env.proxy.set_enabled(False)
        await asyncio.wait_for(service.group.ensure_healthy(), 20.0)
        await service.env.proxy.set_enabled(True)
        for _ in range(2):
            assert statuses(await service.call_all()) == ["fail"] * 5
            await service.group.ensure_healthy()
        assert len(service.leaks()) == 10
        assert {error.type for error in service.leaks()} == {"PoolClosed"}
        assert service.strategy.stats()["recreated"] >= 1


@pytest.mark.slow
async def test_graceful_degradation_never_recovers(stack: Stack) -> None:
    async with serving(stack, GracefulDegradation) as service:
        await service.call_all()
        await service.group.order_recreate({})
        for _ in range(2):
            await service.call_all()
            await service.group.ensure_healthy()
        assert service.errors() == []
        refused = [end.value for _, end in service.calls()[5:]]
        assert [value.get("code") for value in refused] == ["database_unavailable"] * 10


@pytest.mark.slow
@pytest.mark.parametrize("control", [InstanceTrackingNaive, PoolReferenceNaive], ids=lambda control: control.name)
async def test_closing_the_old_pool_at_once_leaks_to_those_who_wait(stack: Stack, control: type[PoolStrategy]) -> None:
    async with serving(stack, control, deadline_s=20.0) as service:
        await service.call_all()
        await service.env.proxy.add_toxic(SLOW_ANSWERS)
        async with service.users():
            await service.wait_until(lambda: service.group.waiters() > 0)
            await service.group.order_recreate({})
        assert len(service.leaks()) >= 1
        await service.env.proxy.reset()
        await service.until_all_answered(3.0)


@pytest.mark.slow
async def test_a_shared_saver_makes_callers_wait_behind_each_other(stack: Stack) -> None:
    async with serving(stack, SharedSaver, deadline_s=1.0) as service:
        await service.call_all()
        await service.env.proxy.set_enabled(False)
        outcomes = await service.call_all()
        assert "ok" not in statuses(outcomes)
        assert service.longest_s() > service.deadline_s + 9.0
        await service.env.proxy.set_enabled(True)
        await service.until_all_answered(6.0)
