"""Control: psycopg's own ``prepare_threshold``, 5, behind a PgBouncer that keeps no prepared statements.

It looks as if only what is sent often were prepared; but the ``executemany`` of a save always is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.pools.controls.behind_pooler.prepared_at_once import PreparedAtOnce


class PreparedByDefault(PreparedAtOnce):
    """The same with the default threshold."""

    name = "prepared_by_default"
    settings: ClassVar[Mapping[str, Any]] = {**PreparedAtOnce.settings, "kwargs": {"prepare_threshold": 5}}
