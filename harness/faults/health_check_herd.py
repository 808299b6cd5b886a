"""Every caller checks the pool's health at the same moment: a thundering herd, as a check before each request gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckHerd:
    """``callers`` health checks of every group side by side, when the window begins."""

    callers: int = 50

    kind: ClassVar[str] = "health_check_herd"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.CHECKS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "callers", self.callers, 2, 1000)

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed by the checks themselves."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Leaving waits until every check has ended (each is bounded)."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        groups = env.traffic.groups
        herd = asyncio.gather(*(env.traffic.ensure_healthy(group) for group in groups for _ in range(self.callers)))
        try:
            await asyncio.sleep(0)
            yield Witness({"checks": self.callers * len(groups)})
        finally:
            await herd
