"""The server ends the cell's connections: an operator, a failover, a tool that kills old sessions.

Only the connections are lost; the next one is served at once. What a pool hands out afterwards is dead, though.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.errors import UsageError
from harness.core.fault import Effect, Witness
from harness.core.verdict import Json
from harness.faults.statements import STATES, terminate
from harness.faults.toxics import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateBackends:
    """Ends backends when the window begins and every ``period_ms`` until it ends; ``which``: idle, busy or all."""

    which: str = "all"
    period_ms: int = 500

    kind: ClassVar[str] = "terminate_backends"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POSTGRES})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.RENEWS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.which not in STATES:
            raise UsageError(f"{self.kind}: which is {self.which!r}; allowed: {', '.join(STATES)}")
        check_range(self.kind, "period_ms", self.period_ms, 10, 60_000)

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed: a connection is there or it is not."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts those that were ended."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        witness = Witness({"sessions_ended": 0, "strikes": 0})
        await self._strike(env, witness)
        beating = asyncio.ensure_future(self._beat(env, witness))
        try:
            yield witness
        finally:
            beating.cancel()
            (outcome,) = await asyncio.gather(beating, return_exceptions=True)
            if isinstance(outcome, Exception):
                raise outcome

    async def _beat(self, env: Environment, witness: Witness) -> None:
        while True:
            await asyncio.sleep(self.period_ms / 1000)
            await self._strike(env, witness)

    async def _strike(self, env: Environment, witness: Witness) -> None:
        ended = await terminate(env, self.which)
        witness.change["sessions_ended"] = number(witness.change, "sessions_ended") + ended
        witness.change["strikes"] = number(witness.change, "strikes") + 1


def number(change: dict[str, Json], key: str) -> int:
    """A count so far."""
    value = change.get(key)
    return value if isinstance(value, int) else 0
