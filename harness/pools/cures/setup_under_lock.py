"""Every agent calls ``setup()`` when it starts, one at a time: an advisory lock of Postgres lets one through.

Whoever waits must ask again and again (``pg_try_advisory_lock``). One who waits inside ``pg_advisory_lock`` holds a
snapshot, and the CREATE INDEX CONCURRENTLY of ``setup()`` waits for every snapshot to end: all stand still for ever,
and Postgres sees no deadlock, because lock and index belong to two connections. The lock belongs to a session, so it
must not go through a pooler in transaction mode; a migration job that runs once is as good.
"""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from harness.core.pool import AgentHandle
from harness.pools.deadline import BoundedSaver
from harness.pools.self_healing import SelfHealing

#: Any number that nobody else in this database locks.
LOCK = 0x706F6F6C
ASK_AGAIN_S = 0.05
#: The set-ups of all who are before us.
SETUP_S = 15.0
AGENTS_N = 5
#: What ``setup()`` makes.
FORGET = "DROP TABLE IF EXISTS checkpoints, checkpoint_blobs, checkpoint_writes, checkpoint_migrations"


class SetupUnderLock(SelfHealing):
    """Self-healing, with the set-up that the services of the report have."""

    name = "setup_under_lock"

    async def open(self) -> None:
        """The first deployment: an empty database, and five agents at once."""
        await super().open()
        async with await AsyncConnection.connect(self.database.conninfo, autocommit=True) as connection:
            await connection.execute(FORGET)
        await asyncio.gather(*(self.set_up() for _ in range(AGENTS_N)))

    async def set_up(self) -> None:
        """As each agent does it. The lock goes with its connection."""
        async with await AsyncConnection.connect(self.database.conninfo, autocommit=True) as connection:
            async with asyncio.timeout(SETUP_S):
                while True:
                    if await self._took(connection):
                        break
                    await asyncio.sleep(ASK_AGAIN_S)
            async with AsyncPostgresSaver.from_conn_string(self.database.conninfo) as saver:
                await saver.setup()

    async def _took(self, connection: AsyncConnection[Any]) -> bool:
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))).fetchone()
        return bool(row and row[0])

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        """A saver of the agent's own."""
        return BoundedSaver(self.healed.pool)
