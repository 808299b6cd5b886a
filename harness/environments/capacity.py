"""Whether a server takes as many connections as a cell may open, asked before the cell begins."""

from __future__ import annotations

from harness.core.environment import Endpoint
from harness.core.errors import ComponentError
from harness.environments.databases import admin_query

#: What the harness itself opens at most: the sampler, an order of a fault, the two final readers, a spare one.
OWN_CONNECTIONS = 5
_QUERY = """
SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int
"""


async def check_room(admin: Endpoint, groups: int, budget: int) -> None:
    """Raise ComponentError, with the sum, if ``groups`` of ``budget`` backends each do not fit beside our own."""
    ((have, reserved),) = await admin_query(admin, _QUERY)
    need = groups * budget + OWN_CONNECTIONS + reserved
    if have < need:
        raise ComponentError(
            f"max_connections of this Postgres is {have}, and the plan needs {need}: {groups} groups x {budget} "
            f"backends + {OWN_CONNECTIONS} of the harness + {reserved} that Postgres keeps for superusers. Raise "
            "max_connections, or lower the scenario's budget"
        )
