"""Which way the cell's connections went: none may lead from this process straight to the database.

The kernel tells who holds the socket at the other end of a backend. Where this process itself holds it, nothing stands
in between, and no fault of the proxy can hit it; otherwise a proxy or a pooler does. A socket that nobody holds any
more says nothing: a proxy may close one before the backend at its other end has ended.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_ESTABLISHED = "01"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_TABLE = Path("/proc/net/tcp")
#: What Postgres says of a client on a Unix socket: nothing can be in between.
UNIX_SOCKET = -1


class Peer(NamedTuple):
    """A backend as Postgres shows it: the port of its client's end, the group it serves (or none), its words."""

    port: int
    group: str
    name: str


class Routes(NamedTuple):
    """What one look showed: the groups that have a connection through something, and the connections past it."""

    through: frozenset[str]
    past: tuple[str, ...]


def routes(peers: Iterable[Peer], port: int, pids: Iterable[int] = ()) -> Routes:
    """Which way the clients of the backends on ``port`` came; those that nothing is known of are left out.

    ``pids`` are processes that belong to this one: what they hold is held here.
    """
    mine, held = own_sockets(pids), held_to(port)
    through, past = set(), []
    for peer in peers:
        inode = held.get(peer.port)
        if peer.port == UNIX_SOCKET or inode in mine:
            past.append(peer.name)
        elif inode is not None and peer.group:
            through.add(peer.group)
    return Routes(frozenset(through), tuple(past))


def straight_to(port: int, pids: Iterable[int] = ()) -> int:
    """How many connections this process itself, and those of ``pids``, have to ``port``."""
    mine = own_sockets(pids)
    return sum(inode in mine for inode in held_to(port).values())


def own_sockets(pids: Iterable[int] = ()) -> frozenset[int]:
    """The inodes of the sockets that this process holds, and those of ``pids`` that still run."""
    found = set(_sockets_of("self"))
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended just now
            found.update(_sockets_of(str(pid)))
    return frozenset(found)


def _sockets_of(process: str) -> Iterator[int]:
    for entry in os.scandir(f"/proc/{process}/fd"):
        try:
            match = _SOCKET.match(os.readlink(entry.path))
        except FileNotFoundError:
            continue  # closed just now
        if match is not None:
            yield int(match.group(1))


def held_to(port: int) -> dict[int, int]:
    """The established connections of this machine to ``port`` that somebody holds: local port -> inode.

    Costs some 5 ms: the kernel walks all of its sockets.
    """
    found = {}
    remote = f":{port:04X}"
    for line in _TABLE.read_text(encoding="ascii").splitlines()[1:]:
        if remote not in line:
            continue
        fields = line.split()
        if fields[2].endswith(remote) and fields[3] == _ESTABLISHED and fields[9] != "0":
            found[int(fields[1].rpartition(":")[2], 16)] = int(fields[9])
    return found


def can_tell() -> bool:
    """True where the kernel has these tables."""
    return _TABLE.is_file()
