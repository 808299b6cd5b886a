"""The disk of the data folder is full: reads go on, and a save that needs room fails.

"could not extend file ...: No space left on device" (53100). The write-ahead log lies elsewhere, as on a volume of its
own: where that is full, Postgres ends itself, and that is what the crash is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull:
    """No fields: no byte is left until the window ends."""

    kind: ClassVar[str] = "disk_full"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SMALL_DISK})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness says how many bytes it took, and how many are left."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        filling = asyncio.ensure_future(env.server.fill_disk())

        async def free() -> None:
            await asyncio.wait({filling})  # it writes on in its thread, also when nobody waits for it any more
            await env.server.free_disk()

        try:
            yield Witness(dict(await asyncio.shield(filling)))
        finally:
            await heal(free, "the full disk")
            if not filling.cancelled():
                filling.exception()  # whoever was cancelled did not hear of it
