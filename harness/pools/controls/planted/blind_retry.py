"""Planted: a turn that failed is sent again as it was, without asking what is stored.

The retry that comes to mind first. Where the answer to a commit was lost the turn is there already, and is done twice.
"""

from __future__ import annotations

import psycopg

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool

ATTEMPTS = 4


class BlindRetry(OnePool):
    """One shared pool, and up to four attempts."""

    name = "blind_retry"
    breaks = frozenset({Guarantee.NO_DUPLICATE_TURN, Guarantee.ISOLATION})

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """The last attempt's error is the caller's."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await request()
            except psycopg.OperationalError:
                continue
        return await request()
