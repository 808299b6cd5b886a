"""Control: a strategy that is well, behind a PgBouncer whose waits are the defaults.

After a login at Postgres that failed, PgBouncer refuses everybody for ``server_login_retry``, 15 s, before it tries
again, however short the outage was.
"""

from __future__ import annotations

from harness.core.verdict import Guarantee
from harness.pools.pgbouncer_transaction import PgBouncerTransaction


class PoolerDefaults(PgBouncerTransaction):
    """The candidate for transaction mode; only PgBouncer is set up otherwise."""

    name = "pooler_defaults"
    breaks = frozenset({Guarantee.RECOVERS})
    pooler = {"server_login_retry": "15", "query_wait_timeout": "120", "server_connect_timeout": "15"}  # noqa: RUF012
