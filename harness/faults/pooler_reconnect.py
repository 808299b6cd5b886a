"""The pooler is told to RECONNECT, again and again: it leaves each server connection as soon as nobody uses it.

Nothing that is in use is cut, so hardly a client notices more than the time of a new login. But an order that falls
into a login ends that login, and PgBouncer 1.18 then takes it for a server that lets nobody in: whoever waits reads
"server login has been failing, try again later" (in about one cell of six, orders half a second apart). In session
mode a server connection is in use for as long as its client stays, and nothing happens at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.terminate_backends import number
from harness.faults.toxics import check_range

#: How often the server connections are looked at between two orders: idle ones are left within a third of a second.
_LOOKS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolerReconnect:
    """RECONNECT when the window begins and every ``period_ms`` until it ends."""

    period_ms: int = 500

    kind: ClassVar[str] = "pooler_reconnect"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLER_PROCESS})
    usable: ClassVar[bool] = False  # an order may fall into a login
    effect: ClassVar[Effect] = Effect.RENEWS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "period_ms", self.period_ms, 10, 60_000)

    @property
    def delay_ms(self) -> float:
        """Some milliseconds, for a login."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness counts the server connections that were really left: names and groups move between them."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        witness = Witness({"sessions_ended": 0, "orders": 0})
        met: set[int] = set()
        await self._order(env, witness, met)
        beating = asyncio.ensure_future(self._beat(env, witness, met))
        try:
            yield witness
        finally:
            beating.cancel()
            (outcome,) = await asyncio.gather(beating, return_exceptions=True)
            if isinstance(outcome, Exception):
                raise outcome

    async def _beat(self, env: Environment, witness: Witness, met: set[int]) -> None:
        while True:
            for _ in range(_LOOKS):
                await asyncio.sleep(self.period_ms / 1000 / _LOOKS)
                witness.change["sessions_ended"] = len(met - await env.pgbouncer.server_pids())
            await self._order(env, witness, met)

    async def _order(self, env: Environment, witness: Witness, met: set[int]) -> None:
        met |= await env.pgbouncer.server_pids()
        await env.pgbouncer.reconnect()
        witness.change["orders"] = number(witness.change, "orders") + 1
