"""Every replica calls ``setup()`` at the same moment, on a living database: a deployment of a newer saver.

``setup()`` takes no lock. Whoever is late gets a UniqueViolation or a deadlock, and an index that is built concurrently
waits for every transaction that was there before it, while turns go on. (Who waits inside ``pg_advisory_lock`` makes
that a standstill: see ``pools/cures/setup_under_lock``.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from harness.core.environment import Capability, Environment
from harness.core.errors import ComponentError
from harness.core.fault import Effect, Witness
from harness.faults.statements import ask
from harness.faults.toxics import heal

#: What the saver's newest migrations made: indexes of these tables. The version before them is recorded as the newest.
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
VERSION_BEFORE = 5

_VALID = """
SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indisvalid AND relname LIKE 'checkpoint%\\_thread\\_id\\_idx'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupHerd:
    """With ``newer`` the schema is first put back to that of an older saver, so that there is something to set up."""

    newer: bool = True

    kind: ClassVar[str] = "setup_herd"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.SETS_UP
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def heals(self) -> str:
        """There is one schema."""
        return "the saver's schema"

    @property
    def delay_ms(self) -> float:
        """A save may wait for a lock, and nothing says for how long."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Leaving waits until every set-up has ended (each is bounded), and completes the schema."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        witness = Witness()
        versions = [int(row[0]) for row in await ask(env, "SELECT v FROM checkpoint_migrations ORDER BY v")]
        try:
            if self.newer:
                await _put_back(env)
            witness.change["indexes_before"] = await _valid_indexes(env)
            herd = asyncio.ensure_future(env.traffic.client.set_up())
            try:
                yield witness
            finally:
                witness.change.update(await herd)
        finally:

            async def complete() -> None:
                witness.change["indexes_left"] = await _valid_indexes(env)
                await _complete(env, versions)

            await heal(complete, "the saver's schema")


async def _valid_indexes(env: Environment) -> int:
    return int((await ask(env, _VALID))[0][0])


async def _put_back(env: Environment) -> None:
    """As an older saver left it."""
    for table in TABLES:
        await ask(env, sql.SQL("DROP INDEX IF EXISTS {}").format(_index(table)))
    await ask(env, sql.SQL("DELETE FROM checkpoint_migrations WHERE v > {}").format(VERSION_BEFORE))


async def _complete(env: Environment, versions: list[int]) -> None:
    """Whatever the set-ups left: each index whole, each version recorded. Idempotent."""
    for table in TABLES:
        broken = sql.SQL("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass({}) AND NOT indisvalid")
        if await ask(env, broken.format(sql.Literal(f"{table}_thread_id_idx"))):
            await ask(env, sql.SQL("DROP INDEX {}").format(_index(table)))
        make = sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (thread_id)")
        await ask(env, make.format(_index(table), sql.Identifier(table)))
    record = sql.SQL("INSERT INTO checkpoint_migrations SELECT unnest({}::int[]) ON CONFLICT DO NOTHING")
    await ask(env, record.format(versions))
    if (whole := await _valid_indexes(env)) != len(TABLES):
        raise ComponentError(f"{whole} of the saver's {len(TABLES)} indexes are whole after they were made again")


def _index(table: str) -> sql.Identifier:
    return sql.Identifier(f"{table}_thread_id_idx")
