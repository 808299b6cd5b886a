"""How the laws cancel a window: once somebody is inside it, and while it is still being installed."""

from __future__ import annotations

import asyncio

import pytest

from harness.core.fault import Fault, Witness
from harness.environments.cell import CellEnvironment

_LIMIT_S = 20.0


def moments(first: float, *others: float) -> tuple[object, ...]:
    """Seconds after which an installation is cancelled: the first in every run of the tests, the others as proofs."""
    return (first, *(pytest.param(after_s, marks=pytest.mark.proof) for after_s in others))


async def cancelled_inside(fault: Fault, env: CellEnvironment) -> Witness:
    """Cancel it inside its window, twice: healing must not be cancelled either. What the window witnessed until then;
    a fault that lives on still writes there.
    """
    inside = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with fault.active(env) as witness:
            inside.set_result(witness)
            await asyncio.sleep(60)

    task = asyncio.ensure_future(hold())
    await asyncio.wait({inside, task}, timeout=_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    witness: Witness = inside.result()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=_LIMIT_S)
    assert task.cancelled()
    return witness


async def cancelled_while_installed(fault: Fault, env: CellEnvironment, after_s: float) -> None:
    """Cancel it so long after its installation began, wherever that has come to by then."""

    async def install() -> None:
        async with fault.active(env):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(install())
    await asyncio.sleep(after_s)
    task.cancel()
    await asyncio.wait({task}, timeout=_LIMIT_S)
    assert task.cancelled(), task
