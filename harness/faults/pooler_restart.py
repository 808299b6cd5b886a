"""The pooler is restarted, as for an update of it: every connection through it ends, its port is closed, it is back.

Postgres is well all the time. Behind a PgBouncer that hides a restart of Postgres this is the outage that is left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolerRestart:
    """No fields: its process is ended when the window begins, and started again with the same settings at its end."""

    kind: ClassVar[str] = "pooler_restart"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def heals(self) -> tuple[str, ...]:
        """What leaving the window puts back: a new process knows nothing of what its predecessor was told."""
        return ("the pooler's service", "the pooler's slots")

    @property
    def delay_ms(self) -> float:
        """Cut at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Down for the whole window."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            yield Witness(dict(await env.pgbouncer.stop()))
        finally:
            await heal(env.pgbouncer.start, "the stopped PgBouncer")
