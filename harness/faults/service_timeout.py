"""The service gives each call less time than it needs: ``asyncio.timeout`` around ``serve``, in the same task.

It is what the documentation of asyncio shows, and it cancels once. A strategy that catches cancellations, counts them
wrong or takes this one for one of its own turns the service's TimeoutError into something else.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Cut, Environment
from harness.core.fault import Effect, Witness
from harness.faults.cuts import cutting
from harness.faults.toxics import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTimeout:
    """The ``share`` of the calls that begin in the window must be over after ``timeout_ms``."""

    timeout_ms: int = 60
    share: float = 0.5

    kind: ClassVar[str] = "service_timeout"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.CANCELS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "timeout_ms", self.timeout_ms, 1, 60_000)
        check_range(self.kind, "share", self.share, 0.01, 1.0)

    @property
    def heals(self) -> str:
        """There is one order at a time."""
        return "what cuts calls short"

    @property
    def delay_ms(self) -> float:
        """Calls end early, if anything."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the calls that had that deadline, and those that it ended."""
        return cutting(env, Cut(share=self.share, timeout_ms=self.timeout_ms))
