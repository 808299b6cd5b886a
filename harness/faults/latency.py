"""Every chunk arrives late: a distant region, a busy link, a garbage collection in the middle."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """``latency_ms`` added to each chunk of ``stream``, no jitter. Removing it delivers what it holds."""

    latency_ms: int = 100
    stream: str = "downstream"

    kind: ClassVar[str] = "latency"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.DELAYS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "latency_ms", self.latency_ms, 1, 60_000)
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('latency', self.stream)}"

    @property
    def delay_ms(self) -> float:
        """Each answer is late by this much at least."""
        return float(self.latency_ms)

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """From the first chunk on that passes after it was installed."""
        return toxic(env, "latency", self.stream, {"latency": self.latency_ms, "jitter": 0})
