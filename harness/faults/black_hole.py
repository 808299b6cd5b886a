"""Data is swallowed and the connection stays open: a firewall that lost its state, a dead host behind a living proxy.

Nothing on TCP level notices, since the proxy acknowledges. Healing closes the connections that were stalled.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHole:
    """``stream`` downstream: requests arrive, answers are lost. upstream: requests are lost."""

    stream: str = "downstream"

    kind: ClassVar[str] = "black_hole"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('timeout', self.stream)}"

    @property
    def delay_ms(self) -> float:
        """What was swallowed never arrives."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Toxiproxy's ``timeout`` of 0: data is dropped until it is removed."""
        return toxic(env, "timeout", self.stream, {"timeout": 0})
