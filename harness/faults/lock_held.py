"""Somebody holds a lock on the table ``checkpoints``: a migration, a forgotten transaction, a VACUUM FULL.

Connections are well, new ones are served, ``SELECT 1`` passes; only the saver's statements wait, for as long as the
lock is held. Re-creating a pool cures nothing here, and each attempt leaves one more backend in the queue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.errors import ComponentError, UsageError
from harness.core.fault import Effect, Witness
from harness.core.verdict import Json
from harness.faults.statements import admin, ask
from harness.faults.toxics import heal

_MODES = ("exclusive", "access exclusive")
_LOCK = {
    "exclusive": "LOCK TABLE checkpoints IN EXCLUSIVE MODE",
    "access exclusive": "LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE",
}
_HELD = "SELECT mode FROM pg_locks WHERE relation = 'checkpoints'::regclass AND granted AND pid = pg_backend_pid()"
_BY_OTHERS = """
SELECT count(*) FROM pg_locks
WHERE relation = 'checkpoints'::regclass AND granted AND mode IN ('ExclusiveLock', 'AccessExclusiveLock')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHeld:
    """``mode``: ``exclusive`` (writes wait, reads go on) or ``access exclusive`` (reads wait too)."""

    mode: str = "access exclusive"

    kind: ClassVar[str] = "lock_held"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POSTGRES})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise UsageError(f"{self.kind}: mode is {self.mode!r}; allowed: {' or '.join(_MODES)}")

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "the lock on checkpoints"

    @property
    def delay_ms(self) -> float:
        """Statements wait until the window ends; how late that is, is the window's own length."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """What waits is answered when the window ends; what was given up may land then."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            async with admin(env) as holder:
                await holder.execute("BEGIN")
                await holder.execute(_LOCK[self.mode])
                cursor = await holder.execute(_HELD)
                modes: list[Json] = [str(row[0]) for row in await cursor.fetchall()]
                if not modes:
                    raise ComponentError("the lock on checkpoints was not taken")
                yield Witness({"table": "checkpoints", "modes": modes, "by": holder.info.backend_pid})
        finally:

            async def gone() -> None:
                if (await ask(env, _BY_OTHERS))[0][0]:
                    raise ComponentError("a lock on checkpoints is still held")

            await heal(gone, "the lock on checkpoints")
