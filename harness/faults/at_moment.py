"""A connection is hit at a moment of the protocol: after a Parse, after the k-th INSERT, when a COMMIT is answered.

Other faults strike by the clock, and what they hit is luck. Here the moment is chosen, so that what came of the save is
known for certain while its caller cannot know: the turn is in doubt every time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment, Strike
from harness.core.errors import UsageError
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, heal

_MOMENTS = ("parse", "insert", "sync", "commit")
_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "any")
_ACTIONS = ("cut", "stall", "drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMoment:
    """Every ``nth`` time that ``moment`` comes, on whichever connection, that connection is hit; ``times`` at most.

    ``moment`` is one of an INSERT into ``table`` (``any``: into any table), as the message passes on its way:
    ``parse``: its Parse was passed on, and nothing after it. Prepared statements have one per connection.
    ``insert``: it was passed on and is executed, and nothing after it: what it did is not committed.
    ``sync``: all of its pipeline was passed on, but for the Sync (of a simple query: nothing): not committed.
    ``commit``: the server has said that it is committed, and nobody hears of it.

    ``action``: ``cut`` closes the connection; ``stall`` passes nothing in either direction for ``stall_ms``, then
    everything; ``drop`` passes nothing until the window ends, and then cuts.
    """

    moment: str = "commit"
    table: str = "checkpoints"
    nth: int = 1
    times: int = 1
    action: str = "cut"
    stall_ms: int = 1000

    kind: ClassVar[str] = "at_moment"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.PROTOCOL})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.STRIKES
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, allowed in (("moment", _MOMENTS), ("table", _TABLES), ("action", _ACTIONS)):
            if (value := getattr(self, name)) not in allowed:
                raise UsageError(f"{self.kind}: {name} is {value!r}; allowed: {', '.join(allowed)}")
        for name, high in (("nth", 1_000_000), ("times", 1_000_000), ("stall_ms", 60_000)):
            check_range(self.kind, name, getattr(self, name), 1, high)

    @property
    def heals(self) -> str:
        """The strike that goes with the window."""
        return f"the strike {self._name}"

    @property
    def delay_ms(self) -> float:
        """How late the answer comes that waited for what was stalled; a cut delays nothing."""
        return float(self.stall_ms) if self.action == "stall" else 0.0

    @property
    def _name(self) -> str:
        return f"{self.moment} of {self.table}"

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness is what the middle says that it hit: messages, connections, times."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        witness = Witness()
        strike = Strike(
            name=self._name,
            moment=self.moment,
            table=self.table,
            nth=self.nth,
            times=self.times,
            action=self.action,
            stall_ms=self.stall_ms,
        )
        try:
            witness.change.update(await env.middle.arm(strike))
            yield witness
        finally:

            async def disarm() -> None:
                witness.change.update(await env.middle.disarm(self._name))

            await heal(disarm, self.heals)
