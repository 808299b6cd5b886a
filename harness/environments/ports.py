"""Loopback ports that the kernel chose and that nobody else gets until we let go of them.

A port that was merely free a moment ago can be taken before the server binds it, and a disabled Toxiproxy listens on
nothing, so that a client's connection may be given the same number and enabling fails with HTTP 500. A bound socket
that does not listen prevents both on Linux: the kernel hands the number to nobody, a connection to it is refused, and
a server that sets SO_REUSEADDR, as all of ours do, can bind beside it and listen.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


class ReservedPort:
    """A port on loopback, held until ``release``."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let the kernel have it back. Idempotent."""
        self._socket.close()
