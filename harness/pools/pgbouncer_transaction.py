"""A healed small pool in front of PgBouncer in transaction mode: few server connections for many clients.

Prepared statements must be off (``prepare_threshold=None``): behind a PgBouncer that does not know them (before 1.21,
or ``max_prepared_statements=0``) a client's statement reaches another client's, and even the default of psycopg
prepares when a saver saves, for its ``executemany`` always asks for it. Pipelines are fine. Where PgBouncer keeps them
itself any threshold works (``behind_pooler/pgbouncer_prepared``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.environment import Capability
from harness.pools.self_healing import SelfHealing
from harness.pools.uncancelled import UncancelledConnection


class PgBouncerTransaction(SelfHealing):
    """Self-healing without prepared statements."""

    name = "pgbouncer_transaction"
    needs = frozenset({Capability.PGBOUNCER_TRANSACTION})
    settings: ClassVar[Mapping[str, Any]] = {
        **SelfHealing.settings,
        "connection_class": UncancelledConnection,
        "kwargs": {"prepare_threshold": None},
    }
