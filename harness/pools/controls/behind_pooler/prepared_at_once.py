"""Control: well but for ``prepare_threshold=0``, behind a PgBouncer that keeps no prepared statements.

Each statement is prepared at its first use, on whichever server connection that transaction got.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.verdict import Guarantee
from harness.pools.pgbouncer_transaction import PgBouncerTransaction


class PreparedAtOnce(PgBouncerTransaction):
    """The candidate for transaction mode, with the threshold that LangGraph's examples recommend."""

    name = "prepared_at_once"
    breaks = frozenset({Guarantee.AVAILABLE})
    settings: ClassVar[Mapping[str, Any]] = {**PgBouncerTransaction.settings, "kwargs": {"prepare_threshold": 0}}
    pooler = {"max_prepared_statements": "0"}  # noqa: RUF012
