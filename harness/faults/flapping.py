"""The port closes and opens again and again: a restart loop, a health-checked load balancer that changes its mind."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.proxy_down import PORT, closed_port
from harness.faults.pulses import pulses
from harness.faults.toxics import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class Flapping:
    """Closed for ``down_ms``, open for ``up_ms``, until the window ends."""

    down_ms: int = 400
    up_ms: int = 600

    kind: ClassVar[str] = "flapping"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "down_ms", self.down_ms, 1, 60_000)
        check_range(self.kind, "up_ms", self.up_ms, 1, 60_000)

    @property
    def heals(self) -> str:
        """The port that the window closes."""
        return PORT

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the onsets."""
        return pulses(lambda: closed_port(env), on_s=self.down_ms / 1000, off_s=self.up_ms / 1000)
