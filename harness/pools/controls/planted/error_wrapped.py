"""Planted: PoolClosed is wrapped into an exception of the service's own, and stands in its cause only.

"Callers shall not depend on psycopg." The class is declared and harmless to look at; whoever counts PoolClosed by the
class of the exception counts none.
"""

from __future__ import annotations

import psycopg

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.naive_recreate import NaiveRecreate


class StorageUnavailable(Exception):
    """What callers of this service see instead of a driver's error."""


class ErrorWrapped(NaiveRecreate):
    """The post's re-creation, behind an exception of its own."""

    name = "error_wrapped"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED})
    errors = (StorageUnavailable, TimeoutError)

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """An answer, or the service's own error."""
        try:
            return await request()
        except psycopg.OperationalError as error:
            raise StorageUnavailable("the conversation store is unavailable, try again") from error
