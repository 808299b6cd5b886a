"""Does the server behind a connection take writes? After a failover the old primary lives on, read-only, and knows it.

Whoever reads there reads the past: what was acknowledged since is on the new primary. Postgres tells its clients with
the next answer when ``default_transaction_read_only`` or ``in_hot_standby`` changes, so a look at what psycopg keeps of
that costs nothing. Behind PgBouncer it is worth nothing at first: a client hears what the first server said at its
login. There the server is asked in the transaction of the reading itself, which costs one round trip more: in session
mode once for each connection, which stays with its server, in transaction mode for each read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.rows import scalar_row

from .uncancelled import OneServerConnection, UncancelledConnection

_TOLD = ("default_transaction_read_only", "in_hot_standby")
#: It costs what ``SELECT 1`` costs, and is asked of the server itself, whatever stands between.
_ASK = "SHOW transaction_read_only"


class TakesNoWrites(OperationalError):
    """This server takes no writes; another one may. For a pool it is a lost connection."""


@asynccontextmanager
async def reading(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """What is read in the block was read on a server that takes writes; else TakesNoWrites is raised at its end."""
    if _hears_its_server(connection):
        yield
        if told := _told(connection):
            raise TakesNoWrites(f"this server takes no writes ({told} is on); another one may")
        return
    # Through PgBouncer, in transaction mode, the next query may go to another server; those of one pipeline do not.
    async with connection.pipeline(), connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_ASK)  # it goes out with the first query of the block
        yield
        _check_answer(await cursor.fetchone())
    if isinstance(connection, OneServerConnection):
        connection.hears_its_server = all(connection.info.parameter_status(name) == "off" for name in _TOLD)


def _hears_its_server(connection: AsyncConnection[Any]) -> bool:
    """True if what was told is the word of the server that answers."""
    return not isinstance(connection, UncancelledConnection) or connection.hears_its_server


def _told(connection: AsyncConnection[Any]) -> str:
    """What says, by the last answer, that the server takes no writes; empty if nothing does. No round trip."""
    return next((name for name in _TOLD if connection.info.parameter_status(name) == "on"), "")


def _check_answer(told: Any) -> None:
    if told != "off":
        raise TakesNoWrites(f"this server takes no writes (transaction_read_only is {told}); another one may")


async def check_asked(connection: AsyncConnection[Any]) -> None:
    """Raise TakesNoWrites if the server answers that it takes no writes, and whatever a query that fails raises."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_ASK)
        _check_answer(await cursor.fetchone())
