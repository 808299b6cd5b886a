"""A connection is cut after so many bytes, in the middle of a message."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitData:
    """Each connection is closed after ``limit_bytes`` on ``stream``, counted from when the fault begins."""

    limit_bytes: int = 3000
    stream: str = "downstream"

    kind: ClassVar[str] = "limit_data"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "limit_bytes", self.limit_bytes, 1, 1_000_000_000)
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('limit_data', self.stream)}"

    @property
    def delay_ms(self) -> float:
        """A cut delays nothing."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Every connection gets its own limit, new ones too."""
        return toxic(env, "limit_data", self.stream, {"bytes": self.limit_bytes})
