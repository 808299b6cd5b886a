"""getconn(timeout=1) with check= on a connection that answers nothing: the timeout does not bound the check."""

from __future__ import annotations

import asyncio
import os
import signal
from time import perf_counter

from psycopg_pool import AsyncConnectionPool

from .ground import main
from .pools import pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=1, max_size=1, check=AsyncConnectionPool.check_connection) as pool:
        async with pool.connection() as connection:
            server = connection.info.backend_pid
        os.kill(server, signal.SIGSTOP)  # a process on this machine; its kernel goes on acknowledging
        resume = asyncio.get_running_loop().call_later(8, os.kill, server, signal.SIGCONT)
        began = perf_counter()
        checkout = asyncio.create_task(pool.getconn(timeout=1))
        await asyncio.wait({checkout}, timeout=1 if cured else None)
        while not checkout.done():  # the second cancellation ends what psycopg does about the first
            checkout.cancel()
            await asyncio.wait({checkout}, timeout=0.25)
        took_s = perf_counter() - began
        resume.cancel()
        os.kill(server, signal.SIGCONT)
        if not checkout.cancelled() and checkout.exception() is None:
            await pool.putconn(checkout.result())
    if took_s > 3:
        raise TimeoutError(f"getconn(timeout=1) took {took_s:.1f} s")


if __name__ == "__main__":
    main(run, r"TimeoutError: getconn\(timeout=1\) took")
