"""Whether a server takes as many connections as a cell may open, asked before the cell begins."""

from __future__ import annotations

import asyncio

import psycopg

from harness.core.environment import Endpoint
from harness.core.errors import ComponentError
from harness.environments.postgres import admin_conninfo

#: What the harness itself opens at most: the sampler, an order of a fault, the two final readers, a spare one.
OWN_CONNECTIONS = 5
_LIMIT_S = 10.0
_QUERY = """
SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int
"""


async def check_room(admin: Endpoint, groups: int, budget: int) -> None:
    """Raise ComponentError, with the sum, if ``groups`` of ``budget`` backends each do not fit beside our own."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            connection = await psycopg.AsyncConnection.connect(admin_conninfo(admin), autocommit=True)
            async with connection:
                row = await (await connection.execute(_QUERY)).fetchone()
    except (psycopg.Error, OSError, TimeoutError) as error:
        raise ComponentError(f"Postgres does not tell its max_connections: {error}") from error
    assert row is not None
    have, reserved = int(row[0]), int(row[1])
    need = groups * budget + OWN_CONNECTIONS + reserved
    if have < need:
        raise ComponentError(
            f"max_connections of this Postgres is {have}, and the plan needs {need}: {groups} groups x {budget} "
            f"backends + {OWN_CONNECTIONS} of the harness + {reserved} that Postgres keeps for superusers. Raise "
            "max_connections, or lower the scenario's budget"
        )
