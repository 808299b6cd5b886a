"""A healed pool in front of PgBouncer in session mode: PgBouncer meets Postgres, the pool still meets the network.

Each pooled connection holds one of PgBouncer's for as long as it lives, so everything that works on a connection works
here. PgBouncer does not prevent PoolClosed by itself: a strategy that re-creates its pool behind it leaks just the
same. Its defaults make outages longer than they are: ``server_login_retry`` (15 s) wants 0.2 s, for it comes on top of
every outage, and ``query_wait_timeout`` (120 s) a few seconds. In session mode PgBouncer's PAUSE and RECONNECT wait
for clients to leave: neither is felt by a pool that keeps its connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.environment import Capability
from harness.pools.self_healing import SelfHealing
from harness.pools.uncancelled import OneServerConnection


class PgBouncerSession(SelfHealing):
    """Another place to connect to, with no cancel requests there, and one server behind each connection."""

    name = "pgbouncer_session"
    needs = frozenset({Capability.PGBOUNCER_SESSION})
    settings: ClassVar[Mapping[str, Any]] = {**SelfHealing.settings, "connection_class": OneServerConnection}
