"""The pooler's own link to Postgres swallows data, and the connections stay open.

Agents reach the pooler, and it answers whatever it can answer by itself: a login succeeds, a check that only connects
finds nothing wrong, and every query waits. Healing closes the connections that were stalled.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_stream, toxic, toxic_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolerBlackHole:
    """``stream`` downstream: what the pooler asks arrives, answers are lost. upstream: what it asks is lost."""

    stream: str = "downstream"

    kind: ClassVar[str] = "pooler_black_hole"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLER_LINK})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_stream(self.kind, self.stream)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('timeout', self.stream)} of the pooler's link"

    @property
    def delay_ms(self) -> float:
        """What was swallowed never arrives."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Toxiproxy's ``timeout`` of 0, on the second proxy."""
        return toxic(env, "timeout", self.stream, {"timeout": 0}, proxy=env.link)
