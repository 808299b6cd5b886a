"""The server stands still and then goes on: a frozen virtual machine, a stalled disk, a container that was paused.

What was sent meanwhile is answered late, and what a client gave up on is still carried out. A proxy's black hole cannot
show that: it swallows, and cuts the connection when it ends.
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

_WHAT = ("server", "sessions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """``what``: ``server`` (every process of it; new connections wait too) or ``sessions`` (only those that serve the
    agents when the window begins; new ones are served).
    """

    what: str = "server"

    kind: ClassVar[str] = "pause"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.what not in _WHAT:
            raise UsageError(f"{self.kind}: what is {self.what!r}; allowed: {' or '.join(_WHAT)}")

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "the server's process"

    @property
    def delay_ms(self) -> float:
        """Answers come when the window ends; how late that is, is the window's own length."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Nothing is answered until the window ends, and then everything."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            yield Witness(dict(await env.server.pause(sessions_only=self.what == "sessions")))
        finally:
            await heal(env.server.resume, "the paused server")
