"""Two replica groups of one small agent as real processes on a real stack: what the tests of processes drive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from harness.core.environment import Capability
from harness.core.history import Op, OpType
from harness.core.pool import PoolStrategy
from harness.core.scenario import Bounds
from harness.core.workload import Outcome
from harness.driving.distant_caller import DistantCaller
from harness.driving.nursery import Nursery
from harness.driving.recorder import Recorder
from harness.driving.replica_process import Company, live
from harness.driving.replicas import Replicas
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.pools.self_healing import SelfHealing
from tests.driving.rows import Rows
from tests.driving.small_agent import SmallAgent, action

BOUNDS = Bounds(deadline_s=5.0)
GROUPS = ("g0", "g1")


class Unhurried(SmallAgent):
    """Long enough in its first node to be hit there."""

    slow_s = 0.4


@contextmanager
def nursery_of(strategy: type[PoolStrategy] = SelfHealing, agent: type[SmallAgent] = Unhurried) -> Iterator[Nursery]:
    """Before there is a loop, as a cell does it."""
    company = Company(strategy=strategy, agents={agent.name: agent}, bounds=BOUNDS, durability="async")
    nursery = Nursery.fork(partial(live, company))
    try:
        yield nursery
    finally:
        nursery.close()


@dataclass
class Service:
    """What a test has in hand. Each call is a turn of a thread of its own."""

    env: CellEnvironment
    replicas: Replicas
    caller: DistantCaller
    rows: Rows
    _threads: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def calling(self, group: str) -> asyncio.Task[Outcome]:
        """A call that is under way."""
        turn = replace(action(thread=f"SmallAgent.u{next(self._threads)}.0"), group=group)
        return asyncio.ensure_future(self.caller.call("u0", turn))

    async def busy(self, group: str, calls: int = 2) -> list[asyncio.Task[Outcome]]:
        """So many calls, all in their first node."""
        tasks = [self.calling(group) for _ in range(calls)]
        await asyncio.sleep(0.25)
        return tasks

    def pid(self, group: str) -> int:
        """Of the group's present process."""
        link = self.replicas.groups[group].link
        assert link is not None
        return link.pid.result()

    def state(self, group: str) -> str:
        """As the kernel has it."""
        link = self.replicas.groups[group].link
        assert link is not None
        return link.state()

    def events(self, event: str) -> list[dict[str, Any]]:
        """The values of the ``replica`` rows of that event."""
        return [dict(op.value) for op in self.rows.of("replica") if op.value["event"] == event]

    def ends(self) -> list[Op]:
        """How calls ended."""
        return [op for op in self.rows.of("turn") if op.type is not OpType.INVOKE]

    async def serves(self, group: str) -> None:
        """The group takes a call and answers it, in this very process."""
        assert (await self.calling(group)).status == "ok"
        (asked,) = [op for op in self.rows.of("turn", OpType.INVOKE) if op.call == self.ends()[-1].call]
        assert asked.value["group"] == group
        assert "asked" not in asked.value


@asynccontextmanager
async def service(stack: Stack, nursery: Nursery) -> AsyncIterator[Service]:
    """Both groups open; closed again at the end, and no backend of theirs is left."""
    needs = frozenset({Capability.REPLICA_PROCESS})
    async with stack.cell("replicas", groups=GROUPS, needs=needs) as env:
        rows = Rows()
        recorder = Recorder(rows, env.clock)
        conninfos = {name: env.conninfo(name) for name in GROUPS}
        replicas = Replicas(nursery, conninfos, recorder, env.clock.start_s)
        traffic = CellTraffic(tuple(replicas.groups.values()))
        env.traffic = traffic
        env.put_replicas(replicas, replicas.pids)
        watchdog = Watchdog(recorder, env.clock, slow_s=2.0, fail_s=12.0, give_up=lambda _: None)
        caller = DistantCaller(
            replicas, bounds=BOUNDS, durability="async", recorder=recorder, traffic=traffic, watchdog=watchdog
        )
        try:
            for group in replicas.groups.values():
                await group.open()
            yield Service(env, replicas, caller, rows)
        finally:
            await asyncio.gather(*(group.close() for group in replicas.groups.values()))
            await replicas.finish()
        assert not any((await env.leftover_backends(GROUPS)).values())
        assert traffic.in_flight() == 0
