"""The link is narrow: big answers queue behind each other."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """At most ``rate_kb_per_s`` kilobytes a second and connection, on ``stream``."""

    rate_kb_per_s: int = 1000
    stream: str = "upstream"

    kind: ClassVar[str] = "bandwidth"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "rate_kb_per_s", self.rate_kb_per_s, 1, 1_000_000)
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('bandwidth', self.stream)}"

    @property
    def delay_ms(self) -> float:
        """It depends on the size of what is sent."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """From the next chunk on."""
        return toxic(env, "bandwidth", self.stream, {"rate": self.rate_kb_per_s})
