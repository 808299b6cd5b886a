"""Reported: a SET on each new connection. A proxy that shares sessions then keeps this one for this client alone.

RDS Proxy calls it pinning, and it is what PgBouncer's session mode does to every session: that stands in for it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from psycopg import AsyncConnection

from harness.core.environment import Capability
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck


async def _set(connection: AsyncConnection[Any]) -> None:
    await connection.execute("SET statement_timeout = '30s'")


class PinnedSessions(PoolWithoutCheck):
    """A pool that is generous, for the proxy shall do the sharing."""

    name = "pinned_sessions"
    breaks = frozenset({Guarantee.CONNECTION_BUDGET})
    needs = frozenset({Capability.PGBOUNCER_SESSION})
    settings: ClassVar[Mapping[str, Any]] = {
        "min_size": 10,
        "max_size": 10,
        "timeout": 3.0,
        "configure": _set,
        "kwargs": {"prepare_threshold": None},
    }
