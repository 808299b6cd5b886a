"""Reported: every agent calls ``setup()`` when it starts, on a database that nobody has set up yet."""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck

#: The agents of the post.
AGENTS_N = 5
#: What ``setup()`` makes.
FORGET = "DROP TABLE IF EXISTS checkpoints, checkpoint_blobs, checkpoint_writes, checkpoint_migrations"


class SetupByEveryAgent(PoolWithoutCheck):
    """Five agents start side by side."""

    name = "setup_by_every_agent"
    breaks = frozenset({Guarantee.AVAILABLE})

    async def open(self) -> None:
        """The first deployment: an empty database, and five agents at once. The first group to open empties it."""
        await super().open()
        async with self.pool.connection() as connection:
            await connection.execute(FORGET)
        await asyncio.gather(*(self.set_up() for _ in range(AGENTS_N)))

    async def set_up(self) -> None:
        """As each agent does it."""
        await AsyncPostgresSaver(self.pool).setup()
