"""Planted: the request runs in a task group, so that PoolClosed reaches the caller as a member of an exception group.

"Answer, and write the audit record side by side." ``asyncio.TaskGroup`` raises an ExceptionGroup whatever its tasks
raise: ``except PoolClosed`` no longer sees it, and neither does a handler that asks for the class.
"""

from __future__ import annotations

import asyncio

import psycopg

from harness.core.pool import AgentHandle, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.naive_recreate import NaiveRecreate


class ErrorInGroup(NaiveRecreate):
    """The post's re-creation, with structured concurrency."""

    name = "error_in_group"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED})
    errors = (psycopg.OperationalError, TimeoutError, ExceptionGroup)

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """The request and the audit record."""
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(_answer(request))
            group.create_task(asyncio.sleep(0), name=f"audit {request.turn_id}")
        return answer.result()


async def _answer(request: Request) -> Reply:
    return await request()
