"""Planted: the error's text is shown to the user as if it were the agent's answer.

"Never show a stack trace." So the chat says "Sorry, that did not work: the pool 'pool-1' is already closed", the HTTP
status is 200, and no log and no dashboard counts an error.
"""

from __future__ import annotations

import psycopg

from harness.core.pool import AgentHandle, Answered, Reply, Request
from harness.core.verdict import Guarantee
from harness.pools.controls.naive_recreate import NaiveRecreate


class ErrorInReply(NaiveRecreate):
    """The post's re-creation, with a friendly face."""

    name = "error_in_reply"
    breaks = frozenset({Guarantee.NO_POOL_CLOSED, Guarantee.NO_LOST_TURN})

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        """Always an answer."""
        try:
            return await request()
        except psycopg.OperationalError as error:
            return Answered(f"Sorry, that did not work: {error}")
