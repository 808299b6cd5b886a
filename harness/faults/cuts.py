"""What the faults share in which calls are cut short: order it, count it, and let calls alone again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.core.environment import Cut, Environment
from harness.core.fault import Witness


@asynccontextmanager
async def cutting(env: Environment, how: Cut) -> AsyncIterator[Witness]:
    """Calls that begin in the block are cut as ``how`` says; behind it none is, not even those that are under way."""
    witness = Witness({"share": how.share})
    env.traffic.client.cut(how)
    try:
        yield witness
    finally:
        env.traffic.client.cut(None)
        witness.change.update(env.traffic.client.cuts())
