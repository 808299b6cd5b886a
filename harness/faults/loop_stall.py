"""The event loop stands still: somebody called something that blocks.

A PDF that is parsed, a model that is loaded, a library that is not asynchronous. When the loop turns again every timer
that has run out meanwhile fires at once, and a health check finds a timeout where the database had long answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range

#: A health check is recorded, begun and sent within so many turns of the loop, and not answered yet.
_TURNS_TO_ASK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStall:
    """``times`` times, ``pause_ms`` apart, the loop stands still for ``stall_ms``; never after the window.

    With ``checking`` a health check of every group has been ordered each time, and has just asked its question: by the
    clock alone a stall hardly ever meets one.
    """

    stall_ms: int = 700
    times: int = 4
    pause_ms: int = 300
    checking: bool = True

    kind: ClassVar[str] = "loop_stall"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.STALLS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "stall_ms", self.stall_ms, 250, 20_000)  # shorter ones are not recorded
        check_range(self.kind, "times", self.times, 1, 100)
        check_range(self.kind, "pause_ms", self.pause_ms, 100, 60_000)  # two without a pause are one

    @property
    def heals(self) -> str:
        """There is one loop."""
        return "the event loop"

    @property
    def delay_ms(self) -> float:
        """An answer may wait for one stall."""
        return float(self.stall_ms)

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the stalls. The first comes at once, and leaving ends a pause but no stall."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        witness = Witness({"stalls": 0})

        checks: list[asyncio.Future[None]] = []

        async def stand() -> None:
            for n in range(self.times):
                if n:
                    await asyncio.sleep(self.pause_ms / 1000)
                if self.checking:
                    checks.extend(asyncio.ensure_future(env.traffic.ensure_healthy(g)) for g in env.traffic.groups)
                    for _ in range(_TURNS_TO_ASK):
                        await asyncio.sleep(0)
                env.traffic.client.stall(self.stall_ms / 1000)
                witness.change["stalls"] = n + 1
                stood.set()

        stood = asyncio.Event()
        standing = asyncio.ensure_future(stand())
        waiting = asyncio.ensure_future(stood.wait())
        try:
            await asyncio.wait({standing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            yield witness
        finally:
            waiting.cancel()
            standing.cancel()
            await asyncio.wait({standing, *checks})  # a check is bounded by who makes it
        if not standing.cancelled():
            standing.result()
