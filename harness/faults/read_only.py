"""The database takes no writes, and everything else works: a maintenance, a disk nearly full, a demoted primary.

``SELECT 1`` passes, so a health check that asks no more finds nothing ("cannot execute INSERT in a read-only
transaction", 25006, which is no OperationalError).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """No fields: every transaction of the agents is read-only from its beginning, until the window ends."""

    kind: ClassVar[str] = "read_only"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "default_transaction_read_only"

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Living sessions are under it from their next transaction on."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            yield Witness(dict(await env.server.set_parameter("default_transaction_read_only", "on")))
        finally:

            async def reset() -> None:
                await env.server.reset_parameter("default_transaction_read_only")

            await heal(reset, "default_transaction_read_only")
