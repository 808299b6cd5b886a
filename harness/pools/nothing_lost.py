"""Settings with which a psycopg pool loses no connection: psycopg 3.3.9 and psycopg_pool 3.3.3 do, in two rare moments.

Each of the two is shown by a test that fails when it is mended upstream (``tests/pools/test_given_back.py`` and
``test_connecting.py``); then what is here for it can go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from psycopg import AsyncConnection, Error


class ClosingConnection(AsyncConnection[Any]):
    """A connection that does not come to be leaves nothing behind.

    An attempt that ran into its ``connect_timeout`` stays open in psycopg until the garbage collector comes by: the
    error that it raises holds, in a cycle, the frame with the half-made connection. The server's backend stays as long.
    """

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """See the base class."""
        try:
            return await super().connect(conninfo, **kwargs)
        except Error as error:
            raise error.with_traceback(None)  # noqa: B904 - the same error; without its traceback there is no cycle


async def leave_to_workers(connection: AsyncConnection[Any]) -> None:
    """For a pool's ``reset``. It does nothing, but a pool that has one takes connections back on its workers.

    Without it the borrower's own task does that, and psycopg_pool 3.3.3 loses the connection for good if that task is
    cancelled just then: the place is never free again, and the backend stays until the process ends.
    """


#: For every pool that keeps connections.
SETTINGS: Mapping[str, Any] = {"reset": leave_to_workers, "connection_class": ClosingConnection}
