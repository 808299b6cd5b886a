"""Reported: a pool in a global of the module, closed by one life of the service and opened again by the next one.

psycopg_pool refuses to open a pool that was closed, so whoever comes after that finds it closed for ever.
"""

from __future__ import annotations

from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck


class ReopenedPool(PoolWithoutCheck):
    """The same object, twice."""

    name = "reopened_pool"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED, Guarantee.RECOVERS})

    async def recreate(self) -> None:
        """The end of one lifespan, and the beginning of another."""
        await self.pool.close()
        await self.pool.open()
