"""The pool asks for the password whenever it connects: a callable ``conninfo``, as psycopg_pool has it since 3.3.

What stands in for the platform's token service here is a look at which of two passwords the server takes.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.core.pool import Database
from harness.core.rotation import rotated
from harness.pools.self_healing import HealedPool, SelfHealing


class TokenService:
    """Knows which token is good now."""

    def __init__(self, conninfo: str) -> None:
        password = str(conninfo_to_dict(conninfo)["password"])
        self._choices = [conninfo, make_conninfo(conninfo, password=rotated(password))]

    async def conninfo(self) -> str:
        """With the token of the moment; with the last good one if the server cannot be asked."""
        for choice in tuple(self._choices):
            try:
                async with await AsyncConnection.connect(choice):
                    self._choices.sort(key=lambda known: known != choice)
                    return choice
            except OperationalError as error:
                if "password authentication failed" not in str(error):
                    break
        return self._choices[0]


class TokenAskedAnew(SelfHealing):
    """Self-healing, with nothing baked in."""

    name = "token_asked_anew"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        settings: dict[str, Any] = {**self.settings, "conninfo": TokenService(database.conninfo).conninfo}
        self.healed = HealedPool(database, **settings)
