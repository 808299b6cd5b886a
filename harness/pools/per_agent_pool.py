"""A small pool for each agent, each healed in place: trouble of one agent's connections stays its own.

One saver uses one connection at a time, so two are plenty: one to work with, one to spare while the other is stuck or
being checked. The price is connections: five agents in two groups hold up to twenty where a shared pool holds eight.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from psycopg_pool import PoolTimeout, TooManyRequests

from harness.core.pool import AgentHandle, Database, PoolStrategy, Reply, Request
from harness.pools.deadline import STEP_S, BoundedSaver, call_home, hard_deadline, inside
from harness.pools.self_healing import HealedPool

logger = logging.getLogger("poolproof.pools.per_agent_pool")


class PerAgentPool(PoolStrategy):
    """Pools by replica; each is made when its agent starts and lives until the end."""

    name = "per_agent_pool"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pools: dict[str, HealedPool] = {}

    async def open(self) -> None:
        """Remember the loop that the pools will live on."""
        self._home = asyncio.get_running_loop()

    async def close(self) -> None:
        """Close every pool, side by side."""
        await asyncio.gather(*(healed.close() for healed in self._pools.values()))

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver over the agent's own pool, which is opened when the agent starts for the first time."""
        healed = self._pools.get(agent.replica)
        if healed is None:
            healed = HealedPool(self.database, min_size=1, max_size=2, timeout=6.0, reconnect_timeout=4.0)
            self._pools[agent.replica] = healed
            await hard_deadline(healed.open, STEP_S, home=self._home)
        return BoundedSaver(healed.pool)

    async def ensure_healthy(self) -> None:
        """Check and heal every pool, side by side."""
        await asyncio.gather(*(healed.heal() for healed in self._pools.values()))

    async def recreate(self) -> None:
        """Replace every connection."""
        await asyncio.gather(*(healed.renew() for healed in self._pools.values()))

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer within the deadline, or fail within it; a failure heals this agent's pool for its next caller.

        Finished, never just sent: the user may be repeating, at another replica, a turn that is stored already.
        """
        healed = self._pools[agent.replica]
        seen = healed.generation
        try:
            return await hard_deadline(request.finish, inside(request.deadline_s), home=self._home)
        except (psycopg.OperationalError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                logger.error("thread %s: %s was given up: %s", request.thread_id, request.turn_id, error)
                call_home(self._home, partial(_rebind, agent, healed))
            if not isinstance(error, PoolTimeout | TooManyRequests):
                await hard_deadline(partial(healed.renew_after_failure, seen), 2 * STEP_S, home=self._home)
            raise

    def stats(self) -> Mapping[str, int]:
        """The sums over all pools."""
        total: Counter[str] = Counter()
        for healed in self._pools.values():
            total.update({**healed.pool.get_stats(), "generation": healed.generation, "nudges": healed.nudges})
        return total


def _rebind(agent: AgentHandle, healed: HealedPool) -> None:
    """A saver with a free lock: saves that a run left behind may hold the old one's for some seconds."""
    agent.checkpointer = BoundedSaver(healed.pool)
