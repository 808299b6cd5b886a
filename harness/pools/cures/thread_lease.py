"""One writer for each conversation, whichever replica it comes to: an advisory lock of Postgres, held for the turn.

It belongs to the session that took it, so a replica that is frozen keeps it and one that dies gives it back. It is
taken on a connection of its own, which must not go through a pooler in transaction mode, and is asked for again and
again: whoever waits inside ``pg_advisory_lock`` cannot be told that the deadline has come. While a graph waits for its
user's answer the conversation is still theirs, for a moment at least.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from psycopg import AsyncConnection

from harness.core.pool import AgentHandle, Answered, Database, Reply, Request
from harness.pools import nothing_lost
from harness.pools.deadline import hard_deadline, inside
from harness.pools.self_healing import SelfHealing

ASK_AGAIN_S = 0.02
#: Conversations of one group that are served, waited for, or wait for an answer, side by side.
LEASES = 12
#: How long a conversation is kept for the answer to its question.
ANSWER_S = 2.0


class ThreadLease(SelfHealing):
    """Self-healing, and nobody works on a conversation that somebody else is working on."""

    name = "thread_lease"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._leases = database.pool(min_size=1, max_size=LEASES, timeout=6.0, **nothing_lost.SETTINGS)
        #: By conversation: the connection that holds its lock, and the timer that ends it.
        self._kept: dict[str, tuple[AsyncConnection[Any], asyncio.TimerHandle]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Both pools."""
        await super().open()
        await self._leases.open()

    async def close(self) -> None:
        """Both pools."""
        for thread_id in tuple(self._kept):
            await self._end(thread_id)
        await self._leases.close()
        await super().close()

    async def recreate(self) -> None:
        """Both pools."""
        await self._leases.drain()
        await super().recreate()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Wait for the lease, then answer; the wait counts."""
        return await hard_deadline(partial(self._leased, agent, request), inside(request.deadline_s), home=self.home)

    async def _leased(self, agent: AgentHandle, request: Request) -> Reply:
        kept = self._released(request.thread_id) if request.kind == "resume" else None
        connection = kept or await self._take(request.thread_id)
        asks = False
        try:
            reply = await super().serve(agent, request)
            asks = isinstance(reply, Answered) and bool(reply.waiting)
            return reply
        finally:
            if asks:
                self._keep(request.thread_id, connection)
            else:
                await self._give_back(connection)

    async def _take(self, thread_id: str) -> AsyncConnection[Any]:
        connection: AsyncConnection[Any] = await self._leases.getconn()
        try:
            while True:
                query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS took"
                row = await (await connection.execute(query, (thread_id,))).fetchone()
                if row and row["took"]:
                    return connection
                await asyncio.sleep(ASK_AGAIN_S)
        except BaseException:
            await self._give_back(connection)
            raise

    async def _give_back(self, connection: AsyncConnection[Any]) -> None:
        """The lock goes with it: what cannot be unlocked is closed."""
        try:
            await connection.execute("SELECT pg_advisory_unlock_all()")
        except BaseException:
            await connection.close()
            raise
        finally:
            await self._leases.putconn(connection)

    def _keep(self, thread_id: str, connection: AsyncConnection[Any]) -> None:
        def give_up() -> None:
            task = asyncio.ensure_future(self._end(thread_id))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

        self._kept[thread_id] = connection, asyncio.get_running_loop().call_later(ANSWER_S, give_up)

    def _released(self, thread_id: str) -> AsyncConnection[Any] | None:
        connection, timer = self._kept.pop(thread_id, (None, None))
        if timer is not None:
            timer.cancel()
        return connection

    async def _end(self, thread_id: str) -> None:
        connection = self._released(thread_id)
        if connection is not None:
            await self._give_back(connection)
