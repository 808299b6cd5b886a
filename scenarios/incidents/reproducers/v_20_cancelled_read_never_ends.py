"""A server whose side acknowledges everything and answers nothing: a read that was cancelled never ends.

psycopg/psycopg#1371
"""

from __future__ import annotations

import asyncio
import os
import signal

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .ground import main
from .pools import THREAD, pool_of

#: Asking the server to cancel, and waiting for its answer, may take 5 s each.
BOUND_S = 15


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        async with pool.connection() as connection:
            server = connection.info.backend_pid
        os.kill(server, signal.SIGSTOP)  # a process on this machine; its kernel goes on acknowledging
        read = asyncio.create_task(saver.aget_tuple(THREAD))
        try:
            await asyncio.wait({read}, timeout=1)
            read.cancel()  # as asyncio.timeout does
            if cured:
                await asyncio.wait({read}, timeout=0.25)
                read.cancel()
            ended, _ = await asyncio.wait({read}, timeout=BOUND_S)
        finally:
            os.kill(server, signal.SIGCONT)
        await asyncio.wait({read})
    if not ended:
        raise TimeoutError(f"a read that was cancelled after 1 s was still under way {BOUND_S} s later")


if __name__ == "__main__":
    main(run, "TimeoutError: a read that was cancelled after 1 s was still under way")
