"""Plug-in file: the planted mistakes without their mistake, to show that it is the mistake that is caught."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import ClassVar

from harness import AgentHandle, Answered, Reply, Request
from harness.pools.controls.planted.one_pool import OnePool


class OneWriter(OnePool):
    """The pool that planted mistakes are built upon, and one turn at a time for each conversation: one that waits for
    its resume is not over.
    """

    name = "one_writer"
    locks: ClassVar[defaultdict[str, asyncio.Lock]] = defaultdict(asyncio.Lock)  # both groups live in one process

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        lock = OneWriter.locks[request.thread_id]
        if request.kind != "resume" or not lock.locked():
            await lock.acquire()
        waiting: tuple[str, ...] = ()
        try:
            reply = await request()
            waiting = reply.waiting if isinstance(reply, Answered) else ()
            return reply
        finally:
            if not waiting:
                lock.release()
