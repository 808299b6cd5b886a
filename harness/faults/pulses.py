"""Repeats a short fault inside one window: what flapping and lost answers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from harness.core.fault import Witness

Pulse = Callable[[], AbstractAsyncContextManager[Witness]]


@asynccontextmanager
async def pulses(pulse: Pulse, *, on_s: float, off_s: float) -> AsyncIterator[Witness]:
    """``pulse`` on for ``on_s``, off for ``off_s``, again and again until the block ends. The witness counts the
    onsets.

    The first onset has happened when the block begins. An error of a pulse is raised at the end of the block.
    """
    witness = Witness()
    onsets = 0

    async def beat() -> None:
        nonlocal onsets
        while True:
            async with pulse() as one:
                onsets += 1
                witness.change = {**one.change, "onsets": onsets}
                started.set()
                await asyncio.sleep(on_s)
            await asyncio.sleep(off_s)

    started = asyncio.Event()
    beating = asyncio.ensure_future(beat())
    waiting = asyncio.ensure_future(started.wait())
    try:
        await asyncio.wait({beating, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if beating.done():
            beating.result()
        yield witness
    finally:
        waiting.cancel()
        beating.cancel()
        (outcome,) = await asyncio.gather(beating, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome
