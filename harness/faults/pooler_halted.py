"""The pooler serves nobody until it is told to go on: PAUSE, as before a switch of servers, or KILL.

PAUSE lets transactions end and then leaves the server; whoever wants a connection waits, and gets an error only after
``query_wait_timeout``. It waits for nobody in transaction mode, where a client holds nothing between transactions. In
session mode a client that is there keeps its server connection and notices nothing, so the window has to end those
sessions by another fault, or only new connections meet it. KILL ends every connection in both modes ("database
removed"), and whoever comes anew waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.errors import UsageError
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal

_ORDERS = ("pause", "kill")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolerHalted:
    """``order``: ``pause`` or ``kill``, for the cell's database; RESUME when the window ends."""

    order: str = "pause"

    kind: ClassVar[str] = "pooler_halted"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.order not in _ORDERS:
            raise UsageError(f"{self.kind}: order is {self.order!r}; allowed: {' or '.join(_ORDERS)}")

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "the pooler's service"

    @property
    def delay_ms(self) -> float:
        """Answers come when the window ends; how late that is, is the window's own length."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Halted for the whole window."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            order = env.pgbouncer.pause if self.order == "pause" else env.pgbouncer.kill
            yield Witness(dict(await order()))
        finally:
            await heal(env.pgbouncer.resume, "the halted PgBouncer")
