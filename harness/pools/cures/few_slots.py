"""Transaction mode, and client pools that are no larger than what the pooler has to give.

The same eight server connections that two groups cannot share as sessions are more than they need for transactions.
"""

from __future__ import annotations

from harness.pools.pgbouncer_transaction import PgBouncerTransaction


class FewSlots(PgBouncerTransaction):
    """The candidate for transaction mode, behind the pooler of the report."""

    name = "few_slots"
    pooler = {"default_pool_size": "8", "query_wait_timeout": "2"}  # noqa: RUF012
