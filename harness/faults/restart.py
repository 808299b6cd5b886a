"""The server is restarted cleanly, as for an update: sessions are told and ended, the port is closed, it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment, Shutdown
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """No fields: a fast shutdown when the window begins, a start when it ends."""

    kind: ClassVar[str] = "restart"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "the server's process"

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Down for the whole window."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            yield Witness(dict(await env.server.stop(Shutdown.FAST)))
        finally:
            await heal(env.server.start, "the stopped server")
