"""The client goes in the middle of a turn: the web server cancels the task that serves it, wherever that is.

A closed tab, a phone in a tunnel, an impatient gateway. Nobody asks how the turn ended, and the next request of that
conversation may be a moment away: so no connection may be lost by it, no lock kept, and a turn that is repeated is
stored once.
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
class ClientGone:
    """Of the calls that begin in the window the ``share`` is cancelled, each at an await of its own.

    Counted are the awaits of the task that serves the call, of the request that it performs, and of the saver's calls
    to the database. Which calls, and at which of the first ``awaits``, is drawn from the cell's seed.
    """

    share: float = 0.7
    awaits: int = 150

    kind: ClassVar[str] = "client_gone"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.CANCELS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "share", self.share, 0.01, 1.0)
        check_range(self.kind, "awaits", self.awaits, 1, 100_000)

    @property
    def heals(self) -> str:
        """There is one order at a time."""
        return "what cuts calls short"

    @property
    def delay_ms(self) -> float:
        """Nobody waits for a call whose client has gone."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the calls that were to be cut, and those that were."""
        return cutting(env, Cut(share=self.share, awaits=self.awaits))
