"""The client goes, and while its turn is being ended the server cancels once more.

A web server that stops does it to the requests that it cancelled a moment ago; so does a gateway's time limit behind a
client that went. The second cancellation arrives in the middle of what the first one has to tidy up.
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
class ClientGoneTwice:
    """As ``client_gone``, and once more up to ``again`` awaits later, unless the call has ended by then."""

    share: float = 0.7
    awaits: int = 150
    again: int = 4

    kind: ClassVar[str] = "client_gone_twice"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.CANCELS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "share", self.share, 0.01, 1.0)
        check_range(self.kind, "awaits", self.awaits, 1, 100_000)
        check_range(self.kind, "again", self.again, 1, 1_000)

    @property
    def heals(self) -> str:
        """There is one order at a time."""
        return "what cuts calls short"

    @property
    def delay_ms(self) -> float:
        """Nobody waits for a call whose client has gone."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the calls that were to be cut, those that were, and those that were twice."""
        return cutting(env, Cut(share=self.share, awaits=self.awaits, again=self.again))
