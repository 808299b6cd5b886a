"""What all faults made of one Toxiproxy toxic share: install, read back, and remove whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from harness.core.environment import Environment, Proxy, Toxic
from harness.core.errors import ComponentError, HealError, UsageError
from harness.core.fault import Witness

#: Healing is tried this often, this far apart, before the environment is given up; and not again once it took so long
#: altogether, because a server that does not even answer takes 6 s to fail once.
HEAL_TRIES = 5
HEAL_PAUSE_S = 0.2
HEAL_LIMIT_S = 5.0

STREAMS = ("upstream", "downstream")


def check_stream(kind: str, stream: str) -> None:
    """Refuse anything but the two directions."""
    if stream not in STREAMS:
        raise UsageError(f"{kind}: stream is {stream!r}; allowed: {' or '.join(STREAMS)}")


def check_range(kind: str, name: str, value: float, low: float, high: float) -> None:
    """Refuse a value outside ``low`` to ``high``."""
    if not low <= value <= high:
        raise UsageError(f"{kind}: {name} is {value!r}; allowed: {low:g} to {high:g}")


def toxic_name(type_: str, stream: str) -> str:
    """One toxic of a type and direction at a time: two would have the same name."""
    return f"{type_}_{stream}"


@asynccontextmanager
async def toxic(
    env: Environment, type_: str, stream: str, attributes: Mapping[str, int], *, proxy: Proxy | None = None
) -> AsyncIterator[Witness]:
    """One toxic, from here to the end of the block; on the agents' proxy unless another one is meant."""
    name = toxic_name(type_, stream)
    proxy = proxy or env.proxy
    try:
        change = await proxy.add_toxic(Toxic(name=name, type=type_, stream=stream, attributes=attributes))
        yield Witness(dict(change))
    finally:

        async def remove() -> None:
            await proxy.remove_toxic(name)
            if name in await proxy.toxics():
                raise ComponentError(f"toxic {name} still stands after it was removed")

        await heal(remove, f"toxic {name}")


async def heal(step: Callable[[], Awaitable[None]], what: str) -> None:
    """Run ``step`` until it succeeds, bounded, shielded from cancellation; raises HealError if it never does."""
    task = asyncio.ensure_future(_heal(step, what))
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except HealError:
            break
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def _heal(step: Callable[[], Awaitable[None]], what: str) -> None:
    clock = asyncio.get_running_loop()
    stop_s = clock.time() + HEAL_LIMIT_S
    for left in reversed(range(HEAL_TRIES)):
        try:
            await step()
        except ComponentError as error:
            if not left or clock.time() > stop_s:
                raise HealError(f"{what} would not heal: {error}") from error
            await asyncio.sleep(HEAL_PAUSE_S)
        else:
            return
