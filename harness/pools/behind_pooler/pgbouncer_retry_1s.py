"""The strategy for transaction mode behind a PgBouncer that tries a server anew after 1 s, as is often recommended.

That may lengthen an outage by this second: until then everybody is refused, also when Postgres is long back.
"""

from __future__ import annotations

from harness.pools.pgbouncer_transaction import PgBouncerTransaction


class PgBouncerRetry1s(PgBouncerTransaction):
    """Nothing but the one setting; ours is 0.2 s."""

    name = "pgbouncer_retry_1s"
    pooler = {"server_login_retry": "1"}  # noqa: RUF012
