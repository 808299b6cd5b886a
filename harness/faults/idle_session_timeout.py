"""The server reaps idle sessions: a managed Postgres, or a pooler in front of it, that lets nobody sit there for long.

A pool keeps its connections for the next request, which then gets a dead one. In production the limit is minutes and
the pause is a model's answer; here both are shorter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.statements import ask
from harness.faults.toxics import check_range, heal


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSessionTimeout:
    """Sessions that were idle for ``timeout_ms`` are ended, in every transaction-less moment of theirs."""

    timeout_ms: int = 150

    kind: ClassVar[str] = "idle_session_timeout"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.RENEWS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "timeout_ms", self.timeout_ms, 10, 600_000)

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "idle_session_timeout"

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Living sessions are under it from their next statement on; the witness counts sessions that ended fatally."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        fatal_before = await _fatal(env)
        try:
            change = await env.server.set_parameter("idle_session_timeout", str(self.timeout_ms))
            witness = Witness({**change, "sessions_ended": 0})
            yield witness
            witness.change["sessions_ended"] = await _fatal(env) - fatal_before
        finally:

            async def reset() -> None:
                await env.server.reset_parameter("idle_session_timeout")

            await heal(reset, "idle_session_timeout")


async def _fatal(env: Environment) -> int:
    """Sessions of the cell's database that the server itself ended so far."""
    rows = await ask(env, "SELECT sessions_fatal FROM pg_stat_database WHERE datname = current_database()")
    return int(rows[0][0])
