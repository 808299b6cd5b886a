"""A name that can be given a new address: ``python switchboard.py PORT FILE`` listens on PORT and passes each
connection on to the loopback port that FILE names at that moment.

Connections that stand stay with whom they were connected, as after a change of DNS: that is what a pool has to notice
by itself. Toxiproxy cannot do this: it cuts every connection when its upstream changes. It is run by its path, as a
process of its own so that its work is not the agents', and imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

_CHUNK_BYTES = 1 << 18
_CONNECT_LIMIT_S = 5.0


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one side to the other, and its end as well."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def connect_through(target: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection; one that cannot be connected is closed at once."""
    try:
        async with asyncio.timeout(_CONNECT_LIMIT_S):
            there, back = await asyncio.open_connection("127.0.0.1", int(target.read_text()))  # noqa: ASYNC240 - a few bytes
    except (OSError, ValueError, TimeoutError):
        writer.close()
        return
    for side in (writer, back):
        side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.gather(pass_on(reader, back), pass_on(there, writer))


async def serve(port: int, target: Path) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(
        lambda reader, writer: connect_through(target, reader, writer), "127.0.0.1", port, backlog=200
    )
    await ended.wait()
    server.close()


def main() -> None:
    """See the module."""
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
