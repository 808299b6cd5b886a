"""Reported: the recommended ``prepare_threshold=0``, which prepares at once, behind PgBouncer in transaction mode."""

from __future__ import annotations

from harness.core.environment import Capability
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck


class PreparedBehindPooler(PoolWithoutCheck):
    """Statements are prepared on one server connection and run on another."""

    name = "prepared_behind_pooler"
    breaks = frozenset({Guarantee.AVAILABLE})
    needs = frozenset({Capability.PGBOUNCER_TRANSACTION})
    pooler = {"max_prepared_statements": "0"}  # noqa: RUF012 - what PgBouncer had before 1.24
