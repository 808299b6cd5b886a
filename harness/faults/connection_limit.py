"""The number of connections to the database is lowered under living pools: a smaller plan, a stricter operator.

Those that stand are ended when it happens, else nobody would notice before the next deployment; what they connect anew
has to fit. Who needs few connections goes on, who needs many starves ("too many connections for database").
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.statements import ask, database_setting, terminate
from harness.faults.toxics import check_range, heal


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimit:
    """At most ``limit`` connections to the cell's database, both groups together, until the window ends."""

    limit: int = 10

    kind: ClassVar[str] = "connection_limit"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.POSTGRES, Capability.SUPERUSER})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.RENEWS  # whoever needs few connections need not fail, but lost those it had
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range(self.kind, "limit", self.limit, 0, 1000)

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return "the connection limit"

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Superusers are not counted."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            await _set(env, self.limit)
            ended = await terminate(env)
            yield Witness({"connection_limit": await database_setting(env, "datconnlimit"), "sessions_ended": ended})
        finally:

            async def lift() -> None:
                await _set(env, -1)

            await heal(lift, "the connection limit")


async def _set(env: Environment, limit: int) -> None:
    statement = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    await ask(env, statement.format(sql.Identifier(env.admin.dbname), sql.Literal(limit)))
