"""Closing takes its time: the end of a connection is passed on late, and its socket stands half closed meanwhile.

It shows only when connections close, so this fault retires the connections itself: once it stands it orders a
re-creation of every group. Postgres ends a backend as soon as it reads the client's good-bye, so no backend lingers;
what lingers are the sockets, and they are counted from the kernel's table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, toxic, toxic_name

_FIN_WAIT_2 = "05"
_POLL_S = 0.05


def half_closed(port: int) -> int:
    """Sockets that their owner closed and the peer on ``port`` did not, in this network namespace (Linux)."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = (row.split() for row in rows)
    return sum(1 for row in fields if row[3] == _FIN_WAIT_2 and int(row[2].rpartition(":")[2], 16) == port)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose:
    """The end of each connection is passed on to the client ``delay_ms_each`` late."""

    delay_ms_each: int = 1500

    kind: ClassVar[str] = "slow_close"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.LINGERS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "delay_ms_each", self.delay_ms_each, 1, 60_000)

    @property
    def heals(self) -> str:
        """The toxic that goes with the window."""
        return f"the toxic {toxic_name('slow_close', 'downstream')}"

    @property
    def delay_ms(self) -> float:
        """How long a socket may outlive its connection."""
        return float(self.delay_ms_each)

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Installs the toxic, then orders the re-creation; the witness holds the most sockets seen half closed."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        async with toxic(env, "slow_close", "downstream", {"delay": self.delay_ms_each}) as witness:
            witness.change["lingering_sockets"] = half_closed(env.endpoint.port)
            counting = asyncio.ensure_future(self._count(env, witness))
            try:
                await asyncio.gather(*(env.traffic.recreate(group) for group in env.traffic.groups))
                yield witness
            finally:
                counting.cancel()
                await asyncio.gather(counting, return_exceptions=True)

    async def _count(self, env: Environment, witness: Witness) -> None:
        most = 0
        while True:
            most = max(most, half_closed(env.endpoint.port))
            witness.change["lingering_sockets"] = most
            await asyncio.sleep(_POLL_S)
