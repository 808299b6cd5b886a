"""A server whose side acknowledges everything and answers nothing: asyncio.wait_for(read, 1) ends seconds later."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from time import perf_counter

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        async with pool.connection() as connection:
            server = connection.info.backend_pid
        os.kill(server, signal.SIGSTOP)  # a process on this machine; its kernel goes on acknowledging
        began = perf_counter()
        read = asyncio.create_task(saver.aget_tuple(THREAD))
        try:
            if cured:
                await asyncio.wait({read}, timeout=1)
                while not read.done():  # the second cancellation ends what psycopg does about the first
                    read.cancel()
                    await asyncio.wait({read}, timeout=0.25)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(read, 1)
        finally:
            took_s = perf_counter() - began
            os.kill(server, signal.SIGCONT)
    if took_s > 3:
        raise TimeoutError(f"asyncio.wait_for(read, 1) took {took_s:.1f} s")


if __name__ == "__main__":
    main(run, r"TimeoutError: asyncio\.wait_for\(read, 1\) took")
