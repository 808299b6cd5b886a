"""Connections are reset (RST) as soon as they carry data: a failover, a load balancer that forgot us."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPeer:
    """Resets each connection ``timeout_ms`` after the first chunk on ``stream``. Idle connections stay until they are
    used.
    """

    timeout_ms: int = 0
    stream: str = "downstream"

    kind: ClassVar[str] = "reset_peer"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "timeout_ms", self.timeout_ms, 0, 60_000)
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('reset_peer', self.stream)}"

    @property
    def delay_ms(self) -> float:
        """A connection that is reset delays nothing."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """New connections are reset as well, so the database is away."""
        return toxic(env, "reset_peer", self.stream, {"timeout": self.timeout_ms})
