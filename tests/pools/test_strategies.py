"""One suite for every candidate: what each promises, tried on real servers with real faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.core.agent import Turn
from harness.core.environment import Toxic
from harness.core.pool import PoolStrategy
from harness.environments.stack import Stack
from harness.pools.degrade_and_rebind import DegradeAndRebind
from harness.pools.fail_fast import FailFast
from harness.pools.self_healing_retry import SelfHealingRetry
from tests.pools.pool_driving import AGENTS, CANDIDATES, GROUP, PONDER, serving, statuses

pytestmark = pytest.mark.slow

Strategy = type[PoolStrategy]
every_candidate = pytest.mark.parametrize("strategy", CANDIDATES, ids=lambda strategy: strategy.name)

SLOW_ANSWERS = Toxic(name="slow", type="latency", stream="downstream", attributes={"latency": 300})
NO_ANSWERS = Toxic(name="hole", type="timeout", stream="downstream", attributes={"timeout": 0})


@every_candidate
async def test_every_agent_answers_and_nothing_is_left_behind(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy) as service:
        assert statuses(await service.call_all()) == ["ok"] * 5
        await service.group.ensure_healthy()
        assert statuses(await service.call_all()) == ["ok"] * 5
        assert all(isinstance(number, int) for number in service.strategy.stats().values())
        assert service.strategy_errors("ensure_healthy") == []


@every_candidate
async def test_a_repeated_turn_stands_once_with_one_answer(stack: Stack, strategy: Strategy) -> None:
    turn = Turn("a0.u.x/t1", "a0.u.x", "?")
    async with serving(stack, strategy) as service:
        for attempt in (1, 2, 3):
            assert (await service.call("a0", turn, attempt)).turns == ("a0.u.x/t1",)
        replica = service.group.replicas["a0"]
        seen = await replica.checkpointer.aget_tuple({"configurable": {"thread_id": "a0.u.x"}})
        assert seen is not None
        values = seen.checkpoint["channel_values"]
        assert replica.agent.answers_in(values) == ["a0.u.x/t1"]
        assert replica.agent.effects_in(values) == ["a0.u.x/t1/think"]


@every_candidate
async def test_a_re_creation_renews_every_connection(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy) as service:
        await service.call_all()
        await asyncio.sleep(0.2)
        before = set((await asyncio.to_thread(service.env.backends))[GROUP])
        held = (await service.env.leftover_backends([GROUP]))[GROUP]
        connected = service.strategy.stats()["connections_num"]
        await service.group.order_recreate({})
        assert service.strategy_errors("recreate") == []
        assert statuses(await service.call_all()) == ["ok"] * 5
        if service.env.pooler is not None:  # it keeps its own connections; what is renewed are those to it
            await service.wait_until(
                lambda: service.strategy.stats()["connections_num"] >= connected + held > connected
            )
            return
        stop_s = service.env.clock.now_s() + 2.0
        while before & (now := set((await asyncio.to_thread(service.env.backends))[GROUP])):
            assert service.env.clock.now_s() < stop_s, f"not renewed: {before & now}"
            await asyncio.sleep(0.05)


@every_candidate
async def test_all_are_served_soon_after_every_connection_was_cut(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy) as service:
        async with service.users():
            await asyncio.sleep(0.3)
        await service.env.proxy.set_enabled(False)
        await service.env.proxy.set_enabled(True)
        took_s = await service.until_all_answered(3.0)
        assert took_s < 3.0
        assert service.leaks() == []
        assert all(error.declared for error in service.errors())


@every_candidate
async def test_one_health_check_after_the_cut_saves_the_callers_from_it(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy) as service:
        async with service.users():
            await asyncio.sleep(0.3)
        await service.env.proxy.set_enabled(False)
        await service.env.proxy.set_enabled(True)
        await service.group.ensure_healthy()
        assert statuses(await service.call_all()) == ["ok"] * 5


@every_candidate
async def test_in_a_black_hole_every_call_ends_and_afterwards_every_agent_recovers(
    stack: Stack, strategy: Strategy
) -> None:
    async with serving(stack, strategy, deadline_s=1.5) as service, service.health_timer():
        await service.until_all_answered(5.0)
        async with service.users(5):
            await service.env.proxy.add_toxic(NO_ANSWERS)
            await asyncio.sleep(4.5)
        assert service.longest_s() <= service.deadline_s + 2.0
        assert len(service.errors()) >= 5 or strategy is DegradeAndRebind
        await service.env.proxy.remove_toxic(NO_ANSWERS.name)
        await service.until_all_answered(3.0)
        assert service.leaks() == []
        assert all(error.declared for error in service.errors())


@every_candidate
async def test_a_re_creation_under_load_leaks_nothing_and_fails_nobody(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy, deadline_s=20.0) as service:
        await service.call_all()
        await service.env.proxy.add_toxic(SLOW_ANSWERS)
        async with service.users():
            group = service.group
            await service.wait_until(lambda: group.waiters() > 0 or group.saver_waiters() > 1)
            await asyncio.gather(group.order_recreate({}), group.order_recreate({}))
            await asyncio.sleep(0.5)
            await group.order_recreate({})
        assert service.strategy_errors("recreate") == []
        assert service.errors() == []
        assert all(end.type == "ok" for _, end in service.calls())


@every_candidate
async def test_a_herd_of_health_checks_is_one_check(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy) as service:
        async with service.users():
            await asyncio.sleep(0.2)
            await service.env.proxy.set_enabled(False)
            await service.env.proxy.set_enabled(True)
            herd = [service.group.order_health_check() for _ in range(50)]
            await asyncio.gather(*herd, service.group.order_recreate({}))
            held = len((await asyncio.to_thread(service.env.backends))[GROUP])
        assert held <= service.database.budget
        assert service.strategy_errors("ensure_healthy") == []
        await service.until_all_answered(3.0)
        assert service.leaks() == []


@every_candidate
async def test_calls_from_a_second_thread_are_served_side_by_side_with_ours(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy) as service:

        async def there() -> list[str]:
            rounds = [await service.call_all() for _ in range(3)]
            return [status for outcomes in rounds for status in statuses(outcomes)]

        theirs = _on_a_second_loop(there)
        ours = [statuses(await service.call_all()) for _ in range(3)]
        assert ours == [["ok"] * 5] * 3
        assert await theirs == ["ok"] * 15


@every_candidate
async def test_a_failure_on_a_second_thread_is_healed_at_home(stack: Stack, strategy: Strategy) -> None:
    async with serving(stack, strategy, deadline_s=1.5) as service:
        await service.until_all_answered(5.0)
        await service.env.proxy.add_toxic(NO_ANSWERS)
        failed = await _on_a_second_loop(service.call_all)
        assert "ok" not in statuses(failed)
        assert service.longest_s() <= service.deadline_s + 2.0
        await service.env.proxy.remove_toxic(NO_ANSWERS.name)
        await service.until_all_answered(3.0)
        assert service.leaks() == []


def _on_a_second_loop(work: Callable[[], Awaitable[Any]]) -> asyncio.Future[Any]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    async def main() -> Any:
        return await work()

    def run() -> None:
        try:
            result = asyncio.run(main())
        except BaseException as error:
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return done


async def test_retry_hides_a_short_outage(stack: Stack) -> None:
    async with serving(stack, SelfHealingRetry) as service, service.health_timer():
        await service.call_all()
        async with service.users():
            await service.env.proxy.set_enabled(False)
            await asyncio.sleep(1.5)
            await service.env.proxy.set_enabled(True)
            await asyncio.sleep(0.5)
        assert service.errors() == []
        assert service.strategy.stats()["retries"] > 0


async def test_fail_fast_refuses_at_once_while_the_database_is_away(stack: Stack) -> None:
    async with serving(stack, FailFast, deadline_s=2.0) as service, service.health_timer():
        await service.until_all_answered(5.0)
        await service.env.proxy.add_toxic(NO_ANSWERS)
        await service.call_all()
        began_s = service.env.clock.now_s()
        assert statuses(await service.call_all()) == ["fail"] * 5
        assert service.env.clock.now_s() - began_s < 0.5
        assert {error.type for error in service.errors()[-5:]} == {"OperationalError"}
        assert service.strategy.stats()["refused"] >= 5
        await service.env.proxy.remove_toxic(NO_ANSWERS.name)
        await service.until_all_answered(3.0)


async def test_fail_fast_does_not_close_its_door_on_what_was_lost_before_the_last_renewal(stack: Stack) -> None:
    async with serving(stack, FailFast) as service:
        await service.until_all_answered(5.0)
        await service.env.proxy.add_toxic(NO_ANSWERS)
        late = asyncio.create_task(service.call(AGENTS[0].name))
        await asyncio.sleep(0.3)
        await service.strategy.recreate()
        await service.env.proxy.set_enabled(False)
        await service.env.proxy.remove_toxic(NO_ANSWERS.name)
        await service.env.proxy.set_enabled(True)
        assert (await late).status != "ok"
        assert (await service.call(AGENTS[1].name)).status == "ok"
        assert service.strategy.stats()["refused"] == 0


async def test_fail_fast_does_not_close_its_door_on_one_who_is_stuck_while_others_are_answered(stack: Stack) -> None:
    async with serving(stack, FailFast, deadline_s=1.5) as service:
        await service.until_all_answered(5.0)
        stuck = asyncio.create_task(service.call(AGENTS[0].name, Turn("s/t1", "s", PONDER)))
        await asyncio.sleep(0.3)
        assert (await service.call(AGENTS[1].name)).status == "ok"
        assert (await stuck).status != "ok"
        assert (await service.call(AGENTS[1].name)).status == "ok"
        assert service.strategy.stats()["refused"] == 0


async def test_degradation_is_structured_and_ends(stack: Stack) -> None:
    async with serving(stack, DegradeAndRebind, deadline_s=2.0) as service, service.health_timer():
        await service.until_all_answered(5.0)
        savers = {name: replica.checkpointer for name, replica in service.group.replicas.items()}
        await service.env.proxy.set_enabled(False)
        await service.call_all()
        assert service.errors() == []
        refused = [end.value for _, end in service.calls()[-len(AGENTS) :]]
        assert [value.get("code") for value in refused] == ["database_unavailable"] * 5
        assert all(service.group.replicas[name].checkpointer is not saver for name, saver in savers.items())
        await service.env.proxy.set_enabled(True)
        await service.until_all_answered(3.0)
