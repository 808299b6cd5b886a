"""How the laws cancel a window: once somebody is inside it, and while it is still being installed."""

from __future__ import annotations

import asyncio

from harness.core.fault import Fault
from harness.environments.cell import CellEnvironment

_LIMIT_S = 20.0


async def cancelled_inside(fault: Fault, env: CellEnvironment) -> None:
    """Cancel it inside its window, twice: healing must not be cancelled either."""
    inside = asyncio.Event()

    async def hold() -> None:
        async with fault.active(env):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(hold())
    await asyncio.wait_for(inside.wait(), _LIMIT_S)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=_LIMIT_S)
    assert task.cancelled()


async def cancelled_while_installed(fault: Fault, env: CellEnvironment, after_s: float) -> None:
    """Cancel it so long after its installation began, wherever that has come to by then."""

    async def install() -> None:
        async with fault.active(env):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(install())
    await asyncio.sleep(after_s)
    task.cancel()
    await asyncio.wait({task}, timeout=_LIMIT_S)
    assert task.cancelled()
