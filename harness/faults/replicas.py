"""What the faults that hit a replica's process share: they wait until it has calls, so that they hit it in mid-turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from harness.core.environment import Environment
from harness.core.fault import Witness
from harness.core.verdict import Json
from harness.faults.toxics import check_range, heal

#: A process is hit when it has so many calls and another one is there to go on, or after so long.
CALLS_N = 2
#: Replica groups that a fault can name, counted from 0.
REPLICAS_N = 2
WAIT_S = 5.0
_POLL_S = 0.002


def check_replica(kind: str, replica: int) -> None:
    """Replica groups are counted from 0."""
    check_range(kind, "replica", replica, 0, REPLICAS_N - 1)


def process_of(replica: int) -> str:
    """What a fault of that replica's process puts back."""
    return f"the process of replica {replica}"


def group_of(env: Environment, replica: int) -> str:
    """Its name."""
    return env.traffic.groups[replica]


async def busy(env: Environment, group: str) -> None:
    """Wait, bounded, until the group's process has calls in flight, and every other group takes calls."""
    others = [name for name in env.traffic.groups if name != group]
    began_s = env.clock.now_s()
    while env.clock.now_s() - began_s < WAIT_S:
        served = all(env.replicas.takes_calls(name) for name in others)
        if served and env.replicas.in_flight(group) >= CALLS_N:
            break
        await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def struck(
    env: Environment,
    replica: int,
    strike: Callable[[str], Awaitable[Mapping[str, Json]]],
    undo: Callable[[str], Awaitable[None]],
    *,
    heals: str,
) -> AsyncIterator[Witness]:
    """The process of that group is struck in mid-turn, and what was done to it is undone when the window ends."""
    group = group_of(env, replica)
    try:
        await busy(env, group)
        yield Witness({"processes": [dict(await strike(group))]})
    finally:
        await heal(partial(undo, group), heals)
