"""Postgres's wire format, message by message: bytes in, whole messages or pieces of large ones out. Pure.

Nothing is changed, added or lost: the pieces joined are the bytes that came in, however they were cut on the way.
Imports nothing but the standard library, for the middle runs this in a process of its own.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

#: Of a message's body so much is kept to be read; the rest of it just goes by.
KEPT_BYTES = 1 << 16
#: Codes that stand where a startup message has its version.
CANCEL_REQUEST, SSL_REQUEST, GSSENC_REQUEST = 80877102, 80877103, 80877104
_VERSION = 3
#: What Postgres itself takes for a startup packet.
_STARTUP_BYTES = range(8, 10_001)
_HEADER_BYTES = 5
_LENGTH_BYTES = 4

_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_INSERT = re.compile(r'(?:^|;)\s*insert\s+into\s+(?:"?\w+"?\s*\.\s*)?"?(\w+)"?', re.IGNORECASE)


class Piece(NamedTuple):
    """Bytes of one message. ``tag`` is its type's letter, empty for a startup packet; ``body`` its first bytes, at most
    ``KEPT_BYTES`` and without type and length, on its ``last`` piece; ``raw`` what is to be passed on.
    """

    tag: str
    raw: bytes
    last: bool
    body: bytes = b""


class Splitter:
    """One direction of one connection. ``starting``: startup packets come first, as from a client.

    ``lost``: what came is no message of Postgres but TLS, or another protocol; ``rest`` has it, unread.
    """

    def __init__(self, *, starting: bool) -> None:
        self.lost = False
        self._starting = starting
        self._buffer = bytearray()
        self._large = ""  # the type of the large message of which pieces went by already
        self._left = 0  # how much of it is still to come
        self._kept = bytearray()

    def feed(self, data: bytes) -> list[Piece]:
        """What is complete now; nothing more once it is ``lost``."""
        self._buffer += data
        pieces: list[Piece] = []
        while not self.lost and (piece := self._next()) is not None:
            pieces.append(piece)
        return pieces

    def rest(self) -> bytes:
        """What came in and was not handed out; it is forgotten here."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _next(self) -> Piece | None:
        if self._left:
            return self._more()
        if self._starting:
            return self._startup()
        if len(self._buffer) < _HEADER_BYTES:
            return None
        tag = chr(self._buffer[0])
        length = 1 + struct.unpack_from(">I", self._buffer, 1)[0]
        if length < _HEADER_BYTES or not tag.isascii():
            self.lost = True
            return None
        if length - _HEADER_BYTES <= KEPT_BYTES:
            return self._whole(tag, length, _HEADER_BYTES) if len(self._buffer) >= length else None
        self._large, self._left = tag, length
        self._kept.clear()
        return self._more()

    def _startup(self) -> Piece | None:
        if len(self._buffer) < 2 * _LENGTH_BYTES:
            return None
        length, code = struct.unpack_from(">II", self._buffer)
        version = code >> 16 == _VERSION
        if length not in _STARTUP_BYTES or not (version or code in (CANCEL_REQUEST, SSL_REQUEST, GSSENC_REQUEST)):
            self.lost = True
        if self.lost or len(self._buffer) < length:
            return None
        self._starting = not version
        return self._whole("", length, _LENGTH_BYTES)

    def _whole(self, tag: str, length: int, header: int) -> Piece:
        raw = bytes(self._buffer[:length])
        del self._buffer[:length]
        return Piece(tag, raw, True, raw[header:])

    def _more(self) -> Piece | None:
        """What is there of a large message: it is not held back until all of it has come."""
        raw = bytes(self._buffer[: self._left])
        if not raw:
            return None
        del self._buffer[: len(raw)]
        self._left -= len(raw)
        self._kept += raw[: _HEADER_BYTES + KEPT_BYTES - len(self._kept)]
        return Piece(self._large, raw, not self._left, b"" if self._left else bytes(self._kept[_HEADER_BYTES:]))


def startup_code(body: bytes) -> int:
    """What a startup packet asks for: one of the codes above, or a version."""
    return int(struct.unpack_from(">I", body)[0])


def startup_parameters(body: bytes) -> dict[str, str]:
    """``user``, ``database``, ``application_name`` ... of a startup message."""
    texts = [text.decode(errors="replace") for text in body[_LENGTH_BYTES:].split(b"\0")]
    return {name: value for name, value in zip(texts[::2], texts[1::2], strict=False) if name}


def texts(body: bytes, count: int) -> tuple[str, ...]:
    """The first ``count`` texts of a body, each of which ends in a zero byte; missing ones are empty."""
    found = [text.decode(errors="replace") for text in body.split(b"\0", count)[:count]]
    return (*found, *("" for _ in range(count - len(found))))


def inserts_into(query: str) -> frozenset[str]:
    """The tables, in lower case and without schema, that the statements of ``query`` insert into.

    Statements that hide an INSERT (WITH, functions, rules) are not seen; a saver has none.
    """
    return frozenset(name.lower() for name in _INSERT.findall(_COMMENTS.sub(" ", query)))
