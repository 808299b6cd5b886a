"""Nothing is prepared, behind a PgBouncer that would keep it: the setting does no harm to who does not use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.pools.behind_pooler.pgbouncer_prepared import PgBouncerPrepared


class PgBouncerPreparedNever(PgBouncerPrepared):
    """Threshold None."""

    name = "pgbouncer_prepared_never"
    settings: ClassVar[Mapping[str, Any]] = {**PgBouncerPrepared.settings, "kwargs": {"prepare_threshold": None}}
