"""The middle: a proxy that understands Postgres's messages, and strikes one connection at a named moment.

``main`` is run in a process of its own (``middle_lever`` starts it), so that a cell whose event loop stands still does
not hold it up, and so that the connections to the server are not the cell's own. It imports nothing but the standard
library and the two modules that read the wire. What passes is passed as it came, TLS unread.

Orders come to the same port, as a startup packet with a code that is no version of Postgres, the secret that the
environment variable ``POOLPROOF_MIDDLE_SECRET`` holds, and one line of JSON; the answer is one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.environments.moments import HELD_BACK, Moment, Session, Step

ORDER_CODE = 0x504F4F4C
SECRET = "POOLPROOF_MIDDLE_SECRET"  # noqa: S105 - the variable's name
HEAD = struct.Struct(">II")
#: Every table that is inserted into.
ANY = "any"
CUT, STALL, DROP = "cut", "stall", "drop"

_CHUNK_BYTES = 1 << 18
_CONNECT_LIMIT_S = 5.0
#: Whoever connects has to say so soon what he wants; Postgres itself waits as long.
_HEAD_LIMIT_S = 60.0
_ORDER_BYTES = 1 << 16
_RELEASE_LIMIT_S = 3.0
#: Of so many hits an order's answer tells the message and the connection.
_TOLD = 200


@dataclass(slots=True)
class Order:
    """A strike that is armed, and what came of it."""

    moment: str
    table: str
    nth: int
    times: int
    action: str
    stall_s: float
    seen: int = 0
    hits: list[dict[str, Any]] = field(default_factory=list)
    lifted: asyncio.Event = field(default_factory=asyncio.Event)
    held: set[Connection] = field(default_factory=set)

    def meets(self, moment: Moment) -> bool:
        """Count ``moment`` if it is one of those that are meant; true if it is to be struck."""
        if moment.name != self.moment or (self.table != ANY and self.table not in moment.tables):
            return False
        self.seen += 1
        return not self.lifted.is_set() and self.seen % self.nth == 0 and len(self.hits) < self.times

    def report(self) -> dict[str, Any]:
        """What it met and struck. Times are of the machine's monotonic clock, in seconds."""
        return {"seen": self.seen, "struck": len(self.hits), "hits": self.hits[:_TOLD]}


class Connection:
    """One client's connection and ours to the server, both ways passed on by a task each. Identified by ``number``."""

    def __init__(self, number: int, middle: Middle, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.number = number
        self.session = Session()
        self._middle = middle
        self._writers = (client, server)
        self._passes = asyncio.Event()
        self._passes.set()
        self._ended = False

    async def pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        read: Callable[[bytes], list[Step]],
        rest: Callable[[], list[Step]],
        first: bytes = b"",
    ) -> None:
        """``first`` and everything else from one side to the other, and its end as well."""
        with contextlib.suppress(OSError):
            await self.pass_steps(writer, read(first))
            while chunk := await reader.read(_CHUNK_BYTES):
                await self.pass_steps(writer, read(chunk))
            await self.pass_steps(writer, rest())
        writer.close()

    async def pass_steps(self, writer: asyncio.StreamWriter, steps: list[Step]) -> None:
        """Write them, and do at each moment what is ordered for it."""
        for step in steps:
            await self._passes.wait()
            if self._ended:
                return
            order = self._middle.struck(self, step.moment) if step.moment else None
            if order is not None and order.moment in HELD_BACK and not await self._survives(order):
                return
            writer.write(step.raw)
            if order is not None and order.moment not in HELD_BACK and not await self._survives(order):
                return
        await writer.drain()

    async def _survives(self, order: Order) -> bool:
        """Nothing passes in either direction until what is ordered is over; false if that is the connection's end."""
        if order.action == CUT:
            self._cut()
            return False
        self._passes.clear()
        order.held.add(self)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(order.stall_s if order.action == STALL else None):
                    await order.lifted.wait()
            if order.action == DROP:
                self._cut()
            return order.action != DROP
        finally:
            order.held.discard(self)
            self._passes.set()

    def _cut(self) -> None:
        """Close both sides; what was passed on before still arrives."""
        self._ended = True
        for writer in self._writers:
            writer.close()


class Middle:
    """Serves connections and orders until SIGTERM."""

    def __init__(self, host: str, port: int, secret: str) -> None:
        self._upstream = (host, port)
        self._secret = secret.encode()
        self._orders: dict[str, Order] = {}
        self._numbers = itertools.count(1)

    def struck(self, connection: Connection, moment: Moment) -> Order | None:
        """The order that is to be carried out at ``moment``, if any; it is written down as a hit."""
        found: Order | None = None
        for order in self._orders.values():
            if order.meets(moment) and found is None:
                found = order
        if found is not None:
            found.hits.append(
                {
                    "connection": connection.number,
                    "client": connection.session.application_name,
                    "backend_pid": connection.session.backend_pid,
                    "message": moment.message,
                    "at_s": time.monotonic(),
                }
            )
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, of a client or with an order; one that says nothing, or cannot be connected, is closed."""
        try:
            async with asyncio.timeout(_HEAD_LIMIT_S):
                head = await reader.readexactly(HEAD.size)
                length, code = HEAD.unpack(head)
                if code == ORDER_CODE and HEAD.size < length <= _ORDER_BYTES:
                    packet = await reader.readexactly(length - HEAD.size)
                    writer.write(json.dumps(await self._obey(packet)).encode() + b"\n")
                    await writer.drain()
                    writer.close()
                    return
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                there, back = await asyncio.open_connection(*self._upstream)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.close()
            return
        for side in (writer, back):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(next(self._numbers), self, writer, back)
        session = connection.session
        await asyncio.gather(
            connection.pass_on(reader, back, session.client, session.client_ended, head),
            connection.pass_on(there, writer, session.server, session.server_ended),
        )

    async def _obey(self, packet: bytes) -> dict[str, Any]:
        secret, _, text = packet.partition(b"\0")
        if not hmac.compare_digest(secret, self._secret):
            return {"error": "who orders this does not know the secret"}
        order = json.loads(text)
        name = order.get("name", "")
        if order["do"] == "arm":
            if name in self._orders:
                return {"error": f"{name!r} is armed already"}
            self._orders[name] = Order(**order["strike"])
        elif order["do"] == "disarm":
            return await self._disarm(name)
        return {"armed": sorted(self._orders)}

    async def _disarm(self, name: str) -> dict[str, Any]:
        """Nothing is struck from now on, what is stalled goes on, what is dropped is cut; then tell what was hit."""
        order = self._orders.get(name)
        if order is None:
            return {"armed": sorted(self._orders)}
        order.lifted.set()
        stop_s = time.monotonic() + _RELEASE_LIMIT_S
        while order.held:
            if time.monotonic() > stop_s:
                return {"error": f"{len(order.held)} connections are still held"}
            await asyncio.sleep(0.001)
        del self._orders[name]
        return {"armed": sorted(self._orders), **order.report()}


async def serve(port: int, host: str, upstream_port: int) -> None:
    """Until SIGTERM."""
    middle = Middle(host, upstream_port, os.environ.pop(SECRET))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(middle.serve, "127.0.0.1", port, backlog=200)
    await ended.wait()
    server.close()


def main() -> None:
    """``PORT UPSTREAM_HOST UPSTREAM_PORT``; see the module."""
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
