"""Loopback ports that the kernel chose and that nobody else gets until we let go of them.

A port that was merely free a moment ago can be taken before the server binds it, and a disabled Toxiproxy listens on
nothing, so that a client's connection may be given the same number and enabling fails with HTTP 500. A bound socket
that does not listen prevents both on Linux: the kernel hands the number to nobody, a connection to it is refused, and
a server that sets SO_REUSEADDR, as all of ours do, can bind beside it and listen.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from harness.core.errors import ComponentError, MissingComponent

LOOPBACK = "127.0.0.1"

#: The state of a listening socket in /proc/net/tcp.
_LISTEN = "0A"


class ReservedPort:
    """A port on loopback, held until ``release``. Raises ComponentError where the machine gives none."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            raise ComponentError(f"no socket is to be had: {error.strerror}") from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((LOOPBACK, 0))
        except OSError as error:
            self._socket.close()
            raise MissingComponent(
                f"no port of {LOOPBACK} is to be had: {error.strerror}",
                f"give the loopback interface its address (ip link set lo up; ip address add {LOOPBACK}/8 dev lo)",
            ) from error
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let the kernel have it back. Idempotent."""
        self._socket.close()


def listens(pid: int, port: int) -> bool:
    """True if process ``pid`` itself listens on ``port``: that something accepts connections there proves nothing."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir()) if inodes else []
    except OSError:
        return False  # it has ended
    return any(_target(handle) in inodes for handle in handles)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # closed meanwhile
