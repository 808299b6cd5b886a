"""The server cancels every statement that takes too long: a limit that was set for analysts hits the agents.

A statement that is cancelled ("canceling statement due to statement timeout", 57014) leaves a good connection behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, heal

#: A fault that makes statements wait disturbs as well; only these words show that it was this one.
TELLS = "canceling statement due to statement timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementTimeout:
    """Statements may take ``timeout_ms``, until the window ends."""

    timeout_ms: int = 250

    kind: ClassVar[str] = "statement_timeout"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "timeout_ms", self.timeout_ms, 1, 600_000)

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "statement_timeout"

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Living sessions are under it from their next statement on."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            change = await env.server.set_parameter("statement_timeout", str(self.timeout_ms))
            yield Witness({**change, "tells": TELLS})
        finally:

            async def reset() -> None:
                await env.server.reset_parameter("statement_timeout")

            await heal(reset, "statement_timeout")
