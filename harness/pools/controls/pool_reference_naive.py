"""Control: option 3 as it comes to mind. Savers reach the pool by a reference, but an update closes the old pool at
once.

No agent is left behind, so it recovers; but whoever waits at the old pool at that moment gets PoolClosed.
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from harness.core.pool import AgentHandle
from harness.core.verdict import Guarantee
from harness.pools.controls.naive_recreate import NaiveRecreate


class PoolReference:
    """The wrapper of the post: ``get_pool`` and ``update_pool``."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    def get_pool(self) -> AsyncConnectionPool[Any]:
        """The pool of the moment."""
        return self._pool

    async def update_pool(self, pool: AsyncConnectionPool[Any]) -> None:
        """Take ``pool`` from now on, and close the one before."""
        self._pool, old = pool, self._pool
        await old.close()


class ReferenceSaver(AsyncPostgresSaver):
    """Looks up its pool at every call."""

    def __init__(self, reference: PoolReference) -> None:
        self._reference = reference
        super().__init__(reference.get_pool())

    @property
    def conn(self) -> AsyncConnectionPool[Any]:
        """The pool of the moment."""
        return self._reference.get_pool()

    @conn.setter
    def conn(self, value: Any) -> None:
        """The base class sets what it was given; the reference says what is used."""


class PoolReferenceNaive(NaiveRecreate):
    """A reference, updated at each re-creation."""

    name = "pool_reference_naive"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED})

    async def open(self) -> None:
        """Open the pool and refer to it."""
        await super().open()
        self._reference = PoolReference(self.pool)

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver over the reference."""
        saver = ReferenceSaver(self._reference)
        await saver.setup()
        return saver

    async def recreate(self) -> None:
        """Open a new pool and update the reference."""
        self.pool = self.new_pool()
        await self.pool.open()
        await self._reference.update_pool(self.pool)
        self._recreated += 1
