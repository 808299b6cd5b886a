"""Prepared statements behind PgBouncer in transaction mode, as they work: it keeps them itself.

That needs PgBouncer 1.22 or newer with ``max_prepared_statements`` above 0 (1.24 has 200 by default), and a libpq of 17
or newer in the client, which psycopg's binary package brings. The threshold may then be any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.pools.pgbouncer_transaction import PgBouncerTransaction


class PgBouncerPrepared(PgBouncerTransaction):
    """The candidate for transaction mode, preparing at once."""

    name = "pgbouncer_prepared"
    settings: ClassVar[Mapping[str, Any]] = {**PgBouncerTransaction.settings, "kwargs": {"prepare_threshold": 0}}
    pooler = {"max_prepared_statements": "100"}  # noqa: RUF012
