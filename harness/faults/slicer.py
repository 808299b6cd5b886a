"""Data arrives in small slices with a pause between them: a broken MTU, an inspecting middlebox."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer:
    """Slices of ``average_size_bytes`` with ``delay_us`` between them, on ``stream``."""

    average_size_bytes: int = 64
    delay_us: int = 2000
    stream: str = "downstream"

    kind: ClassVar[str] = "slicer"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.DELAYS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "average_size_bytes", self.average_size_bytes, 1, 1_000_000)
        check_range(self.kind, "delay_us", self.delay_us, 0, 10_000_000)
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('slicer', self.stream)}"

    @property
    def delay_ms(self) -> float:
        """At least one pause: the shortest answer of a save is longer than one slice."""
        return self.delay_us / 1000

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """From the next chunk on."""
        return toxic(
            env,
            "slicer",
            self.stream,
            {
                "average_size": self.average_size_bytes,
                "size_variation": 0,
                "delay": self.delay_us,
            },
        )
