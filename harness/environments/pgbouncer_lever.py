"""Orders for the PgBouncer of one cell. Implements ``core.environment.PgBouncer``.

It is the cell's own process and ends with it, so a cell that is killed in the middle leaves no paused pooler to the
next one. Looks at the console run one after the other on a thread of their own: an order whose caller was cancelled has
been given before the one that heals it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from harness.core.errors import ComponentError
from harness.core.verdict import Json
from harness.environments.pgbouncer import PgBouncer, console_order, console_rows

_ORDER_LIMIT_S = 5.0
_START_LIMIT_S = 5.0
_SEEN_LIMIT_S = 2.0
_POLL_S = 0.005

T = TypeVar("T")


class PgBouncerLever:
    """See the module. ``database`` is the cell's; ``at_the_console`` is entered around each look at the console."""

    def __init__(
        self, pooler: PgBouncer, database: str, at_the_console: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._pooler = pooler
        self._database = database
        self._at_the_console = at_the_console
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pgbouncer")

    def close(self) -> None:
        """Take no more orders. Idempotent."""
        self._thread.shutdown(wait=False)

    async def stop(self) -> Mapping[str, Json]:
        self._pooler.held = True
        await self._off_loop(self._pooler.end)
        return {"pgbouncer": "ended", "status": self._pooler.server.child.popen.returncode}

    async def start(self) -> None:
        if not self._pooler.held:
            return
        await self._off_loop(self._pooler.end)  # the order to end it may still be under way
        self._pooler.restart()
        stop_s = time.monotonic() + _START_LIMIT_S
        while not self._pooler.listening():
            if time.monotonic() > stop_s:
                raise ComponentError(f"PgBouncer does not start again:\n{self._pooler.server.child.tail()}")
            await asyncio.sleep(_POLL_S)
        self._pooler.held = False

    async def pause(self) -> Mapping[str, Json]:
        return await self._off_loop(lambda: self._halt("PAUSE"))

    async def kill(self) -> Mapping[str, Json]:
        return await self._off_loop(lambda: self._halt("KILL"))

    async def resume(self) -> None:
        await self._off_loop(self._resume)

    async def reconnect(self) -> Mapping[str, Json]:
        await self._off_loop(lambda: self._rows(f"RECONNECT {self._database}"))
        return {"reconnect": self._database}

    async def server_pids(self) -> frozenset[int]:
        rows = await self._off_loop(lambda: self._rows("SHOW SERVERS"))
        return frozenset(int(str(row["remote_pid"])) for row in rows if row["database"] == self._database)

    async def slots(self) -> tuple[int, int]:
        return await self._off_loop(self._slots)

    async def queued(self, application_name: str) -> int:
        return await self._off_loop(lambda: self._queued(application_name))

    async def resize(self, slots: int) -> Mapping[str, Json]:
        return await self._off_loop(lambda: self._resize(slots))

    async def halted(self) -> bool:
        """True while it gives nobody a server connection."""
        return await self._off_loop(self._is_halted)

    def _halt(self, order: str) -> Mapping[str, Json]:
        with self._at_the_console():
            console_order(self._pooler.console, f"{order} {self._database}")
        self._until(True, order)
        return {"order": order, "database": self._database, "paused": 1}

    def _resume(self) -> None:
        if self._is_halted():
            self._rows(f"RESUME {self._database}")
            self._until(False, "RESUME")

    def _until(self, halted: bool, order: str) -> None:
        stop_s = time.monotonic() + _SEEN_LIMIT_S
        while self._is_halted() is not halted:
            if time.monotonic() > stop_s:
                raise ComponentError(f"PgBouncer did not carry out {order} within {_SEEN_LIMIT_S:g} s")
            time.sleep(_POLL_S)

    def _is_halted(self) -> bool:
        return str(self._of_the_database()["paused"]) != "0"

    def _slots(self) -> tuple[int, int]:
        pools = [row for row in self._rows("SHOW POOLS") if row["database"] == self._database]
        in_use = sum(int(str(row["sv_active"])) for row in pools)
        return int(str(self._of_the_database()["pool_size"])), in_use

    def _queued(self, application_name: str) -> int:
        clients = self._rows("SHOW CLIENTS")
        return sum((row["application_name"], row["state"]) == (application_name, "waiting") for row in clients)

    def _resize(self, slots: int) -> Mapping[str, Json]:
        self._rows(f"SET default_pool_size = {slots:d}")
        self._rows(f"RECONNECT {self._database}")  # else a smaller size would only hold for new ones
        size, _ = self._slots()
        if size != slots:
            raise ComponentError(f"PgBouncer still gives {size} server connections, and not {slots}")
        return {"slots": size}

    def _of_the_database(self) -> Mapping[str, object]:
        for row in self._rows("SHOW DATABASES"):
            if row["name"] == self._database:
                return row
        raise ComponentError(f"PgBouncer knows no database {self._database}")

    def _rows(self, command: str) -> list[dict[str, object]]:
        with self._at_the_console():
            return console_rows(self._pooler.console, command)

    async def _off_loop(self, call: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_ORDER_LIMIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except TimeoutError as error:
            raise ComponentError(f"PgBouncer did not obey within {_ORDER_LIMIT_S:g} s") from error
