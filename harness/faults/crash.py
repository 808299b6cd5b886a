"""The server dies without a word and has to recover: its port is open again, and everybody is told to wait.

Postgres says "the database system is starting up", and from the moment on when it replays its log "the database system
is not yet accepting connections" (both 57P03). Recovery of so little data takes milliseconds, so it is held in its
middle until the window ends: that is what a large one looks like.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment, Shutdown
from harness.core.errors import UsageError
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal

_HOW = (Shutdown.KILL.value, Shutdown.IMMEDIATE.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """``how``: ``kill`` (every process of the server at once, as when its machine dies) or ``immediate`` (it is told
    to stop without cleaning up). Recovery goes on when the window ends.
    """

    how: str = "kill"

    kind: ClassVar[str] = "crash"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.how not in _HOW:
            raise UsageError(f"{self.kind}: how is {self.how!r}; allowed: {' or '.join(_HOW)}")

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "the server's process"

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The server is in recovery for the whole window."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            stopped = await env.server.stop(Shutdown(self.how))
            yield Witness({**stopped, **await env.server.start_held()})
        finally:
            await heal(env.server.start, "the crashed server")
