"""A re-creation ordered at the worst moment: turns in flight, a request waiting for a connection.

Never by the clock alone: by luck nothing is caught.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range

_POLL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Recreate:
    """Orders ``times`` re-creations of every group, ``pause_ms`` apart.

    Each waits up to ``wait_ms`` for the chosen state: three calls in flight and a request queued in the group's pool;
    after a quarter of the time a call queued behind another one of its saver has to do, since a pool of its own for
    each agent hardly ever queues. With ``queued`` false three calls in flight are enough: while the database is away a
    strategy that refuses at once has no queue at all.
    """

    times: int = 1
    pause_ms: int = 0
    wait_ms: int = 3600
    queued: bool = True

    kind: ClassVar[str] = "recreate"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.RECREATES
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "times", self.times, 1, 100)
        check_range(self.kind, "pause_ms", self.pause_ms, 0, 60_000)
        check_range(self.kind, "wait_ms", self.wait_ms, 0, 60_000)

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed by the order itself."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The orders are over when the block begins; what they leave behind heals or does not."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        for n in range(self.times):
            if n:
                await asyncio.sleep(self.pause_ms / 1000)
            await asyncio.gather(*(self._order(env, group) for group in env.traffic.groups))
        yield Witness({"ordered": self.times * len(env.traffic.groups)})

    async def _order(self, env: Environment, group: str) -> None:
        began_s = env.clock.now_s()
        limit_s = self.wait_ms / 1000
        while (waited_s := env.clock.now_s() - began_s) < limit_s:
            queued = env.traffic.waiters(group) or (waited_s > limit_s / 4 and env.traffic.saver_waiters(group))
            if env.traffic.in_flight() >= self.in_flight and (queued or not self.queued):
                break
            await asyncio.sleep(_POLL_S)
        await env.traffic.recreate(group)
