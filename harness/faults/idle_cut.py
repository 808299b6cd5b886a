"""Every idle connection is cut while nobody uses one, and the database is there again at once.

The trap of long think times: a pool that checks its connections one by one backs off after each dead one. Resetting
toxics leave idle connections alone, so the proxy is closed for a moment while the users are held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.errors import ComponentError
from harness.core.fault import Effect, Witness
from harness.faults.proxy_down import PORT, closed_port
from harness.faults.toxics import check_range

_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleCut:
    """Waits up to ``quiet_limit_ms`` until no call is in flight, then cuts; users go on when the window ends."""

    quiet_limit_ms: int = 8000

    kind: ClassVar[str] = "idle_cut"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.RENEWS
    in_flight: ClassVar[int] = 0
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "quiet_limit_ms", self.quiet_limit_ms, 1, 60_000)

    @property
    def heals(self) -> str:
        """The port that the window closes."""
        return PORT

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Users are held back for the whole window."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        env.traffic.pause(True)
        try:
            limit_s = env.clock.now_s() + self.quiet_limit_ms / 1000
            while env.traffic.in_flight():
                if env.clock.now_s() > limit_s:
                    raise ComponentError(f"idle_cut: {env.traffic.in_flight()} calls still in flight; none must be")
                await asyncio.sleep(_POLL_S)
            async with closed_port(env) as witness:
                pass
            yield witness
        finally:
            env.traffic.pause(False)
