"""A saver's memory as the three tables that Postgres would hold, behind what the final reads call a connection.

The SQL reader's own code takes the rows apart; only the queries themselves are answered here, each by its text, from
the raw stored bytes and without LangGraph. A query that is not known fails loudly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import ormsgpack
from langgraph.checkpoint.memory import InMemorySaver

from harness.driving import sql_reader

_Row = tuple[Any, ...]


class _Checkpoint(NamedTuple):
    space: str
    id: str
    parent: str | None
    body: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def messages(self) -> str | None:
        """The version of the messages channel."""
        version: str | None = self.body["channel_versions"].get("messages")
        return version


class MemoryTables:
    """Implements as much of ``psycopg.AsyncConnection`` as the final reads need."""

    def __init__(self, stored: InMemorySaver) -> None:
        self._stored = stored
        self._answers: dict[str, Callable[[Any], Iterable[_Row]]] = {
            sql_reader._THREADS: lambda _: [(thread,) for thread in sorted(self._threads())],
            sql_reader._NEWEST: lambda args: [(ormsgpack.packb(row.body),) for row in self._top(args["t"])[:1]],
            sql_reader._BLOBS: self._blobs_of,
            sql_reader._EVER: self._ever,
            sql_reader._PENDING: lambda args: [(w[2][1],) for _, w in self._writes(args["t"]) if w[1] == "messages"],
            sql_reader._SHAPE: self._shape,
            sql_reader._TREE: self._tree,
        }

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[None]:
        """Here every answer comes at once."""
        yield

    async def execute(self, query: str, args: Any = None) -> _Cursor:
        """Answer one of the SQL reader's queries."""
        return _Cursor(list(self._answers[query](args)))

    def _threads(self) -> set[str]:
        found = {thread for thread, spaces in self._stored.storage.items() if any(spaces.values())}
        found |= {key[0] for key, writes in self._stored.writes.items() if writes}
        return found | {key[0] for key in self._stored.blobs}

    def _checkpoints(self, thread: str) -> list[_Checkpoint]:
        spaces = self._stored.storage.get(thread, {})
        return [
            _Checkpoint(space, name, row[2], ormsgpack.unpackb(row[0][1]), ormsgpack.unpackb(row[1][1]))
            for space, saved in spaces.items()
            for name, row in saved.items()
        ]

    def _top(self, thread: str) -> list[_Checkpoint]:
        """The top graph's checkpoints, newest first."""
        return sorted((row for row in self._checkpoints(thread) if row.space == ""), key=lambda row: row.id)[::-1]

    def _blobs(self, thread: str) -> dict[tuple[str, str, str], tuple[str, bytes]]:
        """By (namespace, channel, version). A channel without a value has a row of type "empty" without a blob."""
        held = self._stored.blobs.items()
        return {(k[1], k[2], str(k[3])): blob for k, blob in held if k[0] == thread and blob[0] != "empty"}

    def _writes(self, thread: str) -> list[tuple[tuple[str, str], Any]]:
        """((namespace, checkpoint), write) of every pending write."""
        held = self._stored.writes.items()
        return [(key[1:], write) for key, writes in held if key[0] == thread for write in writes.values()]

    def _blobs_of(self, args: Mapping[str, Any]) -> Iterable[_Row]:
        blobs = self._blobs(args["t"])
        for row in self._top(args["t"])[:1]:
            for channel, version in row.body["channel_versions"].items():
                if ("", channel, version) in blobs:
                    yield channel, *blobs["", channel, version]

    def _ever(self, args: Mapping[str, str]) -> Iterable[_Row]:
        blobs = self._blobs(args["thread"])
        talks = any(channel == "messages" for _, channel, _ in blobs)
        for (space, channel, version), (_, blob) in blobs.items():
            if space == "" and (channel == "messages" or not talks):
                yield channel, version, blob

    def _shape(self, args: Mapping[str, str]) -> Iterable[_Row]:
        thread = args["t"]
        rows, writes, blobs = self._checkpoints(thread), self._writes(thread), self._blobs(thread)
        names = {(row.space, row.id) for row in rows}
        children = Counter(row.parent for row in rows if row.space == "" and row.parent)
        top = [row for row in rows if row.space == ""]
        tip = max((row.id for row in top), default=None)
        yield (
            sum(number > 1 for number in children.values()),
            sum(at not in names for at, _ in writes),
            sum(bool(row.parent) and (row.space, row.parent) not in names for row in rows),
            len(rows),
            sum(at == ("", tip) and write[1] == "__interrupt__" for at, write in writes),
            sum(row.messages is not None and ("", "messages", row.messages) not in blobs for row in top),
            sum(row.parent is None for row in top),
        )

    def _tree(self, args: Mapping[str, Any]) -> Iterable[_Row]:
        for row in self._top(args["t"])[: args["most"]]:
            step = row.metadata.get("step")
            yield row.id, row.parent, row.metadata.get("source"), None if step is None else str(step), row.messages


class _Cursor:
    def __init__(self, rows: list[_Row]) -> None:
        self._rows = rows

    async def fetchone(self) -> _Row | None:
        return self._rows[0] if self._rows else None

    async def fetchall(self) -> list[_Row]:
        return self._rows
