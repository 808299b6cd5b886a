"""Every replica is replaced, one after the other, as a deployment does it: told to end, and started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.core.verdict import Json
from harness.faults.replicas import REPLICAS_N, busy, process_of
from harness.faults.toxics import check_range, heal


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingRestart:
    """``pause_ms`` between a process that takes calls and the next one that is told to end."""

    pause_ms: int = 500

    kind: ClassVar[str] = "rolling_restart"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.REPLICA_PROCESS})
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.DRAINS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "pause_ms", self.pause_ms, 0, 60_000)

    @property
    def heals(self) -> tuple[str, ...]:
        """What leaving the window puts back."""
        return tuple(process_of(replica) for replica in range(REPLICAS_N))

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """All were replaced when the block begins."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        async def start_all() -> None:
            for group in env.traffic.groups:
                await env.replicas.start(group)

        ended: list[Json] = []
        try:
            for n, group in enumerate(env.traffic.groups):
                if n:
                    await asyncio.sleep(self.pause_ms / 1000)
                await busy(env, group)
                ended.append(dict(await env.replicas.drain(group)))
                await env.replicas.start(group)
            yield Witness({"processes": ended})
        finally:
            await heal(start_all, "the processes of all replicas")
