"""Control: option 2 as it comes to mind. Agents are tracked and rebound, but the old pool is closed first, and at once.

Whoever waits at it gets PoolClosed, and so does every turn under way: it keeps the saver that it began with.
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.pool import AgentHandle, Database
from harness.core.verdict import Guarantee
from harness.pools.controls.naive_recreate import NaiveRecreate


class InstanceTrackingNaive(NaiveRecreate):
    """A list of agents, and a loop over it after each re-creation."""

    name = "instance_tracking_naive"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED})

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._agents: list[AgentHandle] = []

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """As before, and remember the agent."""
        self._agents.append(agent)
        return await super().checkpointer(agent)

    async def recreate(self) -> None:
        """Close, open, rebind."""
        await super().recreate()
        for agent in self._agents:
            agent.checkpointer = AsyncPostgresSaver(self.pool)
