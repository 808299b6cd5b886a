"""Connections that send no cancel requests, for pools behind PgBouncer.

psycopg asks the server to cancel a query whose task was cancelled: one more connection, which carries the request. A
PgBouncer of version 1.18, the one of Debian 12, dies of such a request whose client has gone by the time it is passed
on (``FATAL disconnect_client(): bad client state: 0``), and everybody who is connected through it fails with it. What
a saver asks takes milliseconds, so its end is awaited instead; the deadline's second cancellation still closes a
connection on which no answer comes.
"""

from __future__ import annotations

from .nothing_lost import ClosingConnection


class UncancelledConnection(ClosingConnection):
    """Give it to a pool as its ``connection_class``.

    ``hears_its_server`` is True once what it heard of its server is known to be that server's own word: never here,
    where each transaction may have another one.
    """

    hears_its_server = False

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Nothing; psycopg goes on to wait for the query's own end, for 5 s or until it is cancelled again."""


class OneServerConnection(UncancelledConnection):
    """Behind PgBouncer in session mode: from its first query to its end it leads to one and the same server.

    It hears each change that this server reports, but what it heard at its login may be another server's word.
    ``hears_its_server`` is set once its server was asked, and said the same.
    """
