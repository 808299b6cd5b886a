"""One connection between a client and Postgres, followed closely enough to name the moments of its saves. Pure.

Both directions go through a ``Session``, which hands out what is to be passed on, in order, and says which of it is a
moment. Nothing is changed or lost; the answers to what was saved are handed out at once when the server has said what
came of it, so that who wants them lost can lose them whole. Once TLS has begun nothing is read any more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.environments.wire import (
    CANCEL_REQUEST,
    GSSENC_REQUEST,
    SSL_REQUEST,
    Piece,
    Splitter,
    inserts_into,
    startup_code,
    startup_parameters,
    texts,
)

#: The moments, and whether the message that makes it is passed on before what happens at it, or is held back.
PARSE, INSERT, SYNC, COMMIT = "parse", "insert", "sync", "commit"
HELD_BACK = frozenset({SYNC, COMMIT})
#: What a client sends to be told ReadyForQuery: a Query, a function call, a Sync.
_CLOSES = frozenset("QFS")
#: Answers to a save that grow beyond this are passed on as they come: no save has such.
_HELD_BYTES = 1 << 20


class Moment(NamedTuple):
    """``name`` is one of the four, ``tables`` are those that are inserted into, ``message`` is it in words."""

    name: str
    tables: frozenset[str]
    message: str


class Step(NamedTuple):
    """The next bytes to pass on; ``moment`` is just after them, or just before them where it is ``HELD_BACK``."""

    raw: bytes
    moment: Moment | None = None


@dataclass(slots=True)
class _Segment:
    """What a client sends until a Sync or a Query, and its answers until ReadyForQuery."""

    tables: set[str] = field(default_factory=set)
    closed: bool = False
    undone: bool = False  # an error, or a rollback: what it did is not kept
    streams: bool = False  # its answers are not held back
    held: bytearray = field(default_factory=bytearray)


class Session:
    """See the module."""

    def __init__(self) -> None:
        self.opaque = False
        self.application_name = ""
        self.backend_pid = 0
        self._client = Splitter(starting=True)
        self._server = Splitter(starting=False)
        self._asked_for_tls = False
        self._segments: deque[_Segment] = deque([_Segment(closed=True)])  # of the startup
        self._statements: dict[str, frozenset[str]] = {}
        self._portals: dict[str, frozenset[str]] = {}
        self._uncommitted: set[str] = set()  # tables that the transaction that is open has inserted into

    def client(self, data: bytes) -> list[Step]:
        """What the client sent, for the server."""
        if self.opaque:
            return [Step(self._client.rest() + data)]
        steps = [Step(piece.raw, self._sent(piece)) for piece in self._client.feed(data)]
        if self._client.lost:
            self.opaque = True
            steps.append(Step(self._client.rest()))
        return steps

    def server(self, data: bytes) -> list[Step]:
        """What the server sent, for the client; none as long as answers are held back."""
        if self.opaque:
            return [*self.server_ended(), Step(data)]
        steps: list[Step] = []
        if self._asked_for_tls and data:
            self._asked_for_tls = False
            steps.append(Step(data[:1]))
            self.opaque = data[:1] != b"N"
            data = data[1:]
        if self.opaque:
            return [*steps, Step(data)]
        for piece in self._server.feed(data):
            steps += self._answered(piece)
        if self._server.lost:
            self.opaque = True
            steps += self.server_ended()
        return steps

    def client_ended(self) -> list[Step]:
        """What is left for the server when the client's side has ended, perhaps in the middle of a message."""
        return [Step(self._client.rest())]

    def server_ended(self) -> list[Step]:
        """The same for the client: what was held back is no answer that anybody wants lost."""
        return [Step(self._held_back() + self._server.rest())]

    def _held_back(self) -> bytes:
        held = b"".join(bytes(segment.held) for segment in self._segments)
        for segment in self._segments:
            segment.held.clear()
        return held

    def _sent(self, piece: Piece) -> Moment | None:
        if not piece.last:
            return None
        if not piece.tag:
            self._started(piece.body)
        elif piece.tag == "P":
            name, query = texts(piece.body, 2)
            tables = self._statements[name] = inserts_into(query)
            return Moment(PARSE, tables, f"Parse of {_insert(tables)}") if tables else None
        elif piece.tag == "B":
            portal, name = texts(piece.body, 2)
            self._portals[portal] = self._statements.get(name, frozenset())
        elif piece.tag == "E":
            return self._inserted(self._portals.get(texts(piece.body, 1)[0], frozenset()))
        elif piece.tag == "C":
            known = self._statements if piece.body[:1] == b"S" else self._portals
            known.pop(texts(piece.body[1:], 1)[0], None)
        elif piece.tag in _CLOSES:
            return self._closed(piece)
        return None

    def _started(self, body: bytes) -> None:
        code = startup_code(body)
        if code in (SSL_REQUEST, GSSENC_REQUEST):
            self._asked_for_tls = True
        elif code == CANCEL_REQUEST:
            self.opaque = True
        else:
            self.application_name = startup_parameters(body).get("application_name", "")

    def _inserted(self, tables: frozenset[str]) -> Moment | None:
        if not tables:
            return None
        self._open().tables |= tables
        return Moment(INSERT, tables, f"Execute of {_insert(tables)}")

    def _closed(self, piece: Piece) -> Moment | None:
        """One of ``_CLOSES`` went by."""
        segment = self._open()
        if piece.tag == "Q":
            segment.tables |= inserts_into(texts(piece.body, 1)[0])
        segment.closed = True
        tables = frozenset(segment.tables)
        if not tables:
            return None
        what = "Sync" if piece.tag == "S" else "Query"
        return Moment(
            SYNC, tables, f"{what} after {_insert(tables)}" if what == "Sync" else f"Query: {_insert(tables)}"
        )

    def _open(self) -> _Segment:
        if not self._segments or self._segments[-1].closed:
            self._segments.append(_Segment())
        return self._segments[-1]

    def _answered(self, piece: Piece) -> list[Step]:
        segment = self._segments[0] if self._segments else None
        if segment is None or not segment.closed:
            self._note(segment, piece)
            return [Step(piece.raw)]
        self._note(segment, piece)
        if piece.tag == "Z":
            self._segments.popleft()
            return [Step(bytes(segment.held) + piece.raw, self._ready(segment, piece.body))]
        if segment.undone or segment.streams or not (segment.tables or self._uncommitted):
            released = bytes(segment.held) + piece.raw
            segment.held.clear()
            return [Step(released)]
        segment.held += piece.raw
        segment.streams = len(segment.held) > _HELD_BYTES
        return []

    def _note(self, segment: _Segment | None, piece: Piece) -> None:
        if piece.tag == "K":
            self.backend_pid = int.from_bytes(piece.body[:4])
        elif segment is not None and piece.last:
            if piece.tag == "E":
                segment.undone = True
            elif piece.tag == "C" and piece.body.startswith((b"ROLLBACK", b"COMMIT")):
                segment.undone = piece.body.startswith(b"ROLLBACK")

    def _ready(self, segment: _Segment, status: bytes) -> Moment | None:
        """ReadyForQuery: outside a transaction, what was inserted is stored for good, or gone for good."""
        self._uncommitted |= segment.tables
        if status != b"I":
            return None
        tables, self._uncommitted = frozenset(self._uncommitted), set()
        if not tables or segment.undone or segment.streams:
            return None
        return Moment(COMMIT, tables, f"answer to the commit of {_insert(tables)}")


def _insert(tables: frozenset[str]) -> str:
    return f"INSERT INTO {', '.join(sorted(tables))}"
