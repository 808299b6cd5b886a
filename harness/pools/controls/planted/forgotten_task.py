"""Planted: a task in the background fails after each answer, and nobody ever asks how it ended.

Fire and forget: ``create_task()`` without a reference, for something that is no part of the answer. Its error reaches
asyncio's exception handler alone, when the task is collected, and there it is one line among many in a log.
"""

from __future__ import annotations

import asyncio

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool


class ForgottenTask(OnePool):
    """Writes down who was served last, in a table that no migration made."""

    name = "forgotten_task"
    breaks = frozenset({Guarantee.CLEAN_BACKGROUND})

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Answer, and leave the rest to a task."""
        reply = await request()
        asyncio.get_running_loop().create_task(self._remember(request.thread_id))
        return reply

    async def _remember(self, thread_id: str) -> None:
        async with self.pool.connection() as connection:
            await connection.execute("UPDATE last_served SET at = now() WHERE thread_id = %s", (thread_id,))
