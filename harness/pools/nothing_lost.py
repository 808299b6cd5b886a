"""Settings with which a psycopg pool loses no connection and no word: psycopg 3.3.9 and psycopg_pool 3.3.3 do, in four
rare moments.

Each of the four is shown by a test that fails when it is mended upstream (``tests/pools/test_given_back.py``,
``test_connecting.py`` and ``test_cancelled_twice.py``); then what is here for it can go.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar

from psycopg import AsyncConnection, Error
from psycopg.abc import PQGen

T = TypeVar("T")


class ClosingConnection(AsyncConnection[Any]):
    """A connection that does not come to be leaves nothing behind, and one that is cut off ends without a noise.

    In psycopg an attempt that ran into its ``connect_timeout`` stays open until the garbage collector comes by: the
    error that it raises holds, in a cycle, the frame with the half-made connection. One that was cancelled stays open
    for as long as anybody keeps the CancelledError, or the TimeoutError that ``asyncio.timeout`` makes of it. The
    server's backend stays as long.
    """

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """See the base class."""
        try:
            return await super().connect(conninfo, **kwargs)
        except (Error, CancelledError) as error:
            raise error.with_traceback(None)  # noqa: B904 - the same error; its traceback would keep the connection

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """See the base class.

        A pipeline that was cancelled twice while it could not write is left to the garbage collector, on a connection
        that psycopg has closed: its last step fails where nobody can catch it, and is told as unraisable.
        """
        try:
            return await super().wait(gen, *args, **kwargs)
        except BaseException:
            with suppress(Error, RuntimeError):  # RuntimeError: it would have liked to write on
                gen.close()  # here its last step is caught; one that has ended takes no notice
            raise


async def leave_to_workers(connection: AsyncConnection[Any]) -> None:
    """For a pool's ``reset``. It does nothing, but a pool that has one takes connections back on its workers.

    Without it the borrower's own task does that, and psycopg_pool 3.3.3 loses the connection for good if that task is
    cancelled just then: the place is never free again, and the backend stays until the process ends.
    """


#: For every pool that keeps connections.
SETTINGS: Mapping[str, Any] = {"reset": leave_to_workers, "connection_class": ClosingConnection}
