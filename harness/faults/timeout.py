"""The post's own word: nothing comes back, and after a while the connection is closed."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Data of ``stream`` is swallowed, and each connection is closed ``timeout_ms`` after the fault reached it, idle
    ones too.
    """

    timeout_ms: int = 1000
    stream: str = "downstream"

    kind: ClassVar[str] = "timeout"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range(self.kind, "timeout_ms", self.timeout_ms, 1, 60_000)
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
        """New connections suffer the same while it lasts."""
        return toxic(env, "timeout", self.stream, {"timeout": self.timeout_ms})
