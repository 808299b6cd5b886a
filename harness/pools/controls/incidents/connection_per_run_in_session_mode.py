"""Reported: the same behind a pooler in session mode that gives few sessions, as the smaller plans of a platform do.

Every idle connection of the two engines keeps a session, so what is left for the runs is nothing.
"""

from __future__ import annotations

from harness.core.environment import Capability
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.connection_per_run import ConnectionPerRun


class ConnectionPerRunInSessionMode(ConnectionPerRun):
    """Eight sessions for two groups that hold six connections each."""

    name = "connection_per_run_in_session_mode"
    breaks = frozenset({Guarantee.AVAILABLE})
    needs = frozenset({Capability.PGBOUNCER_SESSION})
    pooler = {"default_pool_size": "8", "query_wait_timeout": "2"}  # noqa: RUF012
