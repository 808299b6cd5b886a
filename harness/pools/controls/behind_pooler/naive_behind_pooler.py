"""Control: the class-level pool that is closed and opened anew, with a PgBouncer put before the database as the cure.

A pooler does not prevent PoolClosed: the application's own pool is still re-created, under living agents.
"""

from __future__ import annotations

from harness.core.environment import Capability
from harness.pools.controls.naive_recreate import NaiveRecreate


class NaiveBehindPooler(NaiveRecreate):
    """Nothing but the place it connects to. In session mode, where everything works that works on a connection."""

    name = "naive_behind_pooler"
    needs = frozenset({Capability.PGBOUNCER_SESSION})
