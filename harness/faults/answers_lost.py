"""Short black holes, one after the other: many answers are lost after the server has done the work.

Many onsets are what shows a turn that is sent twice: each one leaves some calls in doubt.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.pulses import pulses
from harness.faults.toxics import check_range, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersLost:
    """A black hole downstream of ``hole_ms`` every ``period_ms``; each end cuts the connections that it stalled."""

    hole_ms: int = 50
    period_ms: int = 300

    kind: ClassVar[str] = "answers_lost"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range(self.kind, "hole_ms", self.hole_ms, 1, 60_000)
        check_range(self.kind, "period_ms", self.period_ms, self.hole_ms + 1, 60_000)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('timeout', 'downstream')}"

    @property
    def delay_ms(self) -> float:
        """What was swallowed never arrives."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the onsets."""
        return pulses(
            lambda: toxic(env, "timeout", "downstream", {"timeout": 0}),
            on_s=self.hole_ms / 1000,
            off_s=(self.period_ms - self.hole_ms) / 1000,
        )
