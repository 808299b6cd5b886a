"""Reported: two pools for each request, one for the saver and one for the store, opened in the handler.

Each opens four connections at once. When the database gives no more, the requests hold what the others wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.pool_per_request import PoolPerRequest


class PoolsPerRequest(PoolPerRequest):
    """The second pool is opened and not even used: what it costs is its connections."""

    name = "pools_per_request"
    breaks = frozenset({Guarantee.CONNECTION_BUDGET, Guarantee.AVAILABLE})
    settings: ClassVar[Mapping[str, Any]] = {"min_size": 4, "max_size": 4, "timeout": 3.0}

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Open both, work, close both."""
        async with self.database.pool(**self.settings):
            return await super().serve(agent, request)
