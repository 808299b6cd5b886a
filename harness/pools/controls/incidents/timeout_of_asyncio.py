"""Reported: the deadline is ``asyncio.timeout`` around the call. It cancels, and then waits for as long as the
cancelled call takes to end.
"""

from __future__ import annotations

import asyncio

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck


class TimeoutOfAsyncio(PoolWithoutCheck):
    """As a web framework's middleware has it."""

    name = "timeout_of_asyncio"
    breaks = frozenset({Guarantee.NO_HANG})

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer, or be cancelled at the deadline."""
        async with asyncio.timeout(request.deadline_s):
            return await request()
