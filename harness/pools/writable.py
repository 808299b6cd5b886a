"""Does the server behind a connection take writes? After a failover the old primary lives on, read-only, and knows it.

Whoever reads there reads the past: what was acknowledged since is on the new primary. Postgres tells its clients with
the next answer when ``default_transaction_read_only`` or ``in_hot_standby`` changes, so a look at what psycopg keeps of
that costs nothing. Behind PgBouncer it is worth nothing: a client hears what the first server said at its login.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.rows import scalar_row

from .uncancelled import UncancelledConnection

_TOLD = ("default_transaction_read_only", "in_hot_standby")
#: It costs what ``SELECT 1`` costs, and is asked of the server itself, whatever stands between.
_ASK = "SHOW transaction_read_only"


class TakesNoWrites(OperationalError):
    """This server takes no writes; another one may. For a pool it is a lost connection."""


def check_told(connection: AsyncConnection[Any]) -> None:
    """Raise TakesNoWrites if the server said with its last answer that it takes no writes. No round trip."""
    if isinstance(connection, UncancelledConnection):  # through PgBouncer
        return
    told = [name for name in _TOLD if connection.info.parameter_status(name) == "on"]
    if told:
        raise TakesNoWrites(f"this server takes no writes ({told[0]} is on); another one may")


async def check_asked(connection: AsyncConnection[Any]) -> None:
    """Raise TakesNoWrites if the server answers that it takes no writes, and whatever a query that fails raises."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_ASK)
        told = await cursor.fetchone()
    if told != "off":
        raise TakesNoWrites(f"this server takes no writes (transaction_read_only is {told}); another one may")
