"""psycopg's own default behind a PgBouncer that keeps prepared statements: a query is prepared when it is asked again.

The same needs as ``pgbouncer_prepared``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.pools.behind_pooler.pgbouncer_prepared import PgBouncerPrepared


class PgBouncerPreparedLate(PgBouncerPrepared):
    """Threshold 5."""

    name = "pgbouncer_prepared_late"
    settings: ClassVar[Mapping[str, Any]] = {**PgBouncerPrepared.settings, "kwargs": {"prepare_threshold": 5}}
