"""Somebody else has taken every connection that the server gives: other services came back first after a restart.

The cell's own connections are ended as well, else a warm pool would notice nothing: what it wants anew it does not get
("sorry, too many clients already").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import psycopg

from harness.core.environment import Capability, Environment
from harness.core.errors import ComponentError
from harness.core.fault import Effect, Witness
from harness.faults.statements import admin
from harness.faults.toxics import check_range, heal

_LIMIT = 1000
_ABREAST = 8
#: The cell's pools reconnect while their places are taken: it is a race, and it is run so often.
_ROUNDS = 12
_PATIENCE = 2
_PAUSE_S = 0.02
_GONE_ROUNDS = 100
_CROWD = "SELECT FROM pg_stat_activity WHERE application_name = 'another service'"

_END_OTHERS = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> 'pp-admin'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooManyConnections:
    """Every slot is taken, those that are kept for superusers too, but for ``leave``, until the window ends."""

    leave: int = 0

    kind: ClassVar[str] = "too_many_connections"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "leave", self.leave, 0, _LIMIT)

    @property
    def heals(self) -> str:
        """What leaving the window gives back: one crowd would end the other, or count on its places."""
        return "the crowd of connections"

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness says how many connections are held, and that one more is refused."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        crowd: list[psycopg.AsyncConnection[Any]] = []
        try:
            async with admin(env) as connection:
                await _fill(env, crowd)
                for _ in range(_ROUNDS):
                    ended = await connection.execute(_END_OTHERS)
                    if not (await ended.fetchall())[0][0]:
                        break
                    await _fill(env, crowd)
                refused = not await _connect(env, crowd)
                await _give_up(connection, crowd, self.leave)
                yield Witness({"connections_taken": len(crowd), "one_more_is_refused": refused})
        finally:

            async def leave() -> None:
                await asyncio.gather(*(one.close() for one in crowd))
                if not await _connect(env, crowd):
                    raise ComponentError("the server still gives no connection")
                await crowd.pop().close()

            await heal(leave, self.heals)


async def _give_up(connection: psycopg.AsyncConnection[Any], crowd: list[Any], slots: int) -> None:
    """Close so many of the crowd, and see them gone."""
    await asyncio.gather(*(one.close() for one in crowd[:slots]))
    del crowd[:slots]
    for _ in range(_GONE_ROUNDS):
        if (await connection.execute(_CROWD)).rowcount <= len(crowd):
            return
        await asyncio.sleep(_PAUSE_S)
    raise ComponentError(f"{slots} connections were closed, and the server does not count them as gone")


async def _fill(env: Environment, crowd: list[psycopg.AsyncConnection[Any]]) -> None:
    """Connect until it is refused; a slot that is just becoming free is waited for."""
    for _ in range(_PATIENCE):
        while all(await asyncio.gather(*(_connect(env, crowd) for _ in range(_ABREAST)))):
            if len(crowd) > _LIMIT:
                raise ComponentError(f"the server gives more than {_LIMIT} connections")
        await asyncio.sleep(_PAUSE_S)


async def _connect(env: Environment, crowd: list[psycopg.AsyncConnection[Any]]) -> bool:
    """One connection more, to another database than the cell's; false if it is refused."""
    place = replace(env.admin, dbname="postgres")
    try:
        crowd.append(await psycopg.AsyncConnection.connect(place.conninfo(application_name="another service")))
    except psycopg.OperationalError:
        return False
    return True
