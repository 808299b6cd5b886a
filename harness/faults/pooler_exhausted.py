"""The pooler gives few server connections, and somebody else holds them: a service that leaves transactions open.

Whoever wants one waits until ``query_wait_timeout``. In session mode whoever has a session keeps it, so only what
connects anew meets this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg

from harness.core.environment import Capability, Environment
from harness.core.errors import ComponentError
from harness.core.fault import Effect, Witness
from harness.faults.toxics import check_range, heal

_NAME = "another service"
_TAKEN_WITHIN_S = 4.0
_FREE_WITHIN_S = 2.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolerExhausted:
    """``slots`` server connections are all that there are, and as many clients hold them, each in a transaction."""

    slots: int = 4

    kind: ClassVar[str] = "pooler_exhausted"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "slots", self.slots, 1, 100)

    @property
    def heals(self) -> str:
        """What leaving the window gives back."""
        return "the pooler's slots"

    @property
    def delay_ms(self) -> float:
        """Whoever waits, waits until the window ends."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness says how many slots there are, and that all are in use."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        size, _ = await env.pgbouncer.slots()
        crowd = _Crowd(env)

        async def give_back() -> None:
            await crowd.leave()
            await env.pgbouncer.resize(size)

        try:
            change = await env.pgbouncer.resize(self.slots)
            yield Witness({**change, "slots_in_use": await crowd.take(self.slots)})
        finally:
            await heal(give_back, "the pooler's slots")


class _Crowd:
    """Clients that each take a slot as soon as they get one, and keep it."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._connections: list[psycopg.AsyncConnection[Any]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def _hold(self) -> None:
        conninfo = self._env.endpoint.conninfo(application_name=_NAME)
        connection = await psycopg.AsyncConnection.connect(conninfo, prepare_threshold=None)
        self._connections.append(connection)
        await connection.execute("SELECT 1")

    async def take(self, slots: int) -> int:
        """Send as many clients as there are slots. Returns once each slot is in use: how many those are.

        By then each of the crowd holds one or stands in the queue, so that nobody who comes later is served first: of
        slots that others keep there may be enough in use before the crowd has come.
        """
        self._tasks += [asyncio.ensure_future(self._hold()) for _ in range(slots)]
        loop = asyncio.get_running_loop()
        stop_s = loop.time() + _TAKEN_WITHIN_S
        while True:
            holding = sum(task.done() for task in self._tasks)  # counted first: who is served later is in neither
            come = holding + await self._env.pgbouncer.queued(_NAME)
            _, in_use = await self._env.pgbouncer.slots()
            if come >= slots and in_use >= slots:
                return in_use
            for task in self._tasks:
                if task.done() and (error := task.exception()) is not None:
                    raise ComponentError(f"a slot of the pooler could not be taken: {error}") from error
            if loop.time() > stop_s:
                raise ComponentError(
                    f"only {in_use} of {slots} slots of the pooler are in use, and {come} of {slots} clients are there"
                )
            await asyncio.sleep(_POLL_S)

    async def leave(self) -> None:
        """Hang up, all at once. No query is cancelled on the server: PgBouncer 1.18 may die of many at a time."""
        for connection in self._connections:
            connection.pgconn.finish()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=_FREE_WITHIN_S)
            if left:
                raise ComponentError(f"{len(left)} clients do not leave the pooler")
