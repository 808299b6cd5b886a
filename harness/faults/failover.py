"""A standby takes over, and the old primary lives on, read-only: connections that stand stay with it.

Two real servers with streaming replication. The old one stops writing, the standby replays the rest and is promoted,
so nothing that was acknowledged is lost; then the name that agents connect to gets the new address, as DNS would. A
connection from before works, answers ``SELECT 1`` and refuses every INSERT, for as long as its pool keeps it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.errors import UsageError
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal

_REROUTED = ("at_once", "at_the_end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """``rerouted``: new connections reach the new primary ``at_once``, or only ``at_the_end`` of the window (a stale
    resolver: meanwhile they reach the old one too). A failover is not undone: healed means that the new primary serves.
    """

    rerouted: str = "at_once"

    kind: ClassVar[str] = "failover"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_STANDBY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.rerouted not in _REROUTED:
            raise UsageError(f"{self.kind}: rerouted is {self.rerouted!r}; allowed: {' or '.join(_REROUTED)}")

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "default_transaction_read_only"

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """From the end on new connections can write; those from before never can again."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        witness = Witness()
        try:
            witness.change |= await env.server.promote()
            if self.rerouted == "at_once":
                witness.change |= await env.server.reroute()
            yield witness
        finally:

            async def finish() -> None:
                witness.change |= await env.server.promote()
                witness.change |= await env.server.reroute()

            await heal(finish, "the failover")
