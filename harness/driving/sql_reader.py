"""The second reader of the final state: plain SQL on the saver's three tables, no LangGraph code.

Turn ids are plain text inside the stored blobs, so a regular expression over the raw bytes of the newest checkpoint's
``messages`` channel (every channel, where a graph has no such channel) finds them in the order in which they were
said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

TURN_ID = re.compile(rb"[A-Za-z0-9_.+-]+\.u\d+\.\d+/t\d+")

_NEWEST = """
SELECT checkpoint_id, checkpoint::text FROM checkpoints
WHERE thread_id = %s AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT 1
"""
_BLOBS = """
SELECT b.channel, b.blob
FROM checkpoints c
CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v(channel, version)
JOIN checkpoint_blobs b
  ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
 AND b.channel = v.channel AND b.version = v.version
WHERE c.thread_id = %s AND c.checkpoint_ns = '' AND c.checkpoint_id = %s AND b.blob IS NOT NULL
"""
_EVER = """
SELECT b.blob FROM checkpoint_blobs b
WHERE b.thread_id = %(thread)s AND b.checkpoint_ns = '' AND b.blob IS NOT NULL
  AND (b.channel = 'messages' OR NOT EXISTS (
    SELECT 1 FROM checkpoint_blobs m WHERE m.thread_id = %(thread)s AND m.channel = 'messages'))
"""
_SHAPE = """
SELECT
  (SELECT count(*) FROM (
     SELECT parent_checkpoint_id FROM checkpoints
     WHERE thread_id = %(t)s AND checkpoint_ns = '' AND parent_checkpoint_id IS NOT NULL
     GROUP BY parent_checkpoint_id HAVING count(*) > 1) forked),
  (SELECT count(*) FROM checkpoint_writes w WHERE w.thread_id = %(t)s AND NOT EXISTS (
     SELECT 1 FROM checkpoints c WHERE c.thread_id = w.thread_id AND c.checkpoint_ns = w.checkpoint_ns
       AND c.checkpoint_id = w.checkpoint_id)),
  (SELECT count(*) FROM checkpoints c WHERE c.thread_id = %(t)s AND c.parent_checkpoint_id IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM checkpoints p WHERE p.thread_id = c.thread_id
       AND p.checkpoint_ns = c.checkpoint_ns AND p.checkpoint_id = c.parent_checkpoint_id)),
  (SELECT count(*) FROM checkpoints c WHERE c.thread_id = %(t)s)
"""
_THREADS = """
SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM checkpoint_blobs
UNION SELECT thread_id FROM checkpoint_writes ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class SqlThread:
    """What the tables say of one thread: its newest state's turn ids, and the shape of its checkpoint tree."""

    turns: tuple[str, ...]
    forks: int
    orphan_writes: int
    dangling_parents: int
    checkpoints: int


async def table_threads(admin: psycopg.AsyncConnection[Any]) -> tuple[str, ...]:
    """Every thread id in the three tables, whoever wrote it."""
    cursor = await admin.execute(_THREADS)
    return tuple(str(row[0]) for row in await cursor.fetchall())


async def read_thread(admin: psycopg.AsyncConnection[Any], thread: str) -> SqlThread:
    """Read one thread's newest checkpoint and count the irregular rows."""
    newest = await (await admin.execute(_NEWEST, (thread,))).fetchone()
    turns: tuple[str, ...] = ()
    if newest is not None:
        rows = await (await admin.execute(_BLOBS, (thread, newest[0]))).fetchall()
        said = [blob for channel, blob in rows if channel == "messages"]
        turns = _turn_ids(said or [blob for _, blob in rows] + [str(newest[1]).encode()])
    shape = await (await admin.execute(_SHAPE, {"t": thread})).fetchone()
    assert shape is not None
    return SqlThread(turns, *(int(number) for number in shape))


async def turns_ever(admin: psycopg.AsyncConnection[Any], thread: str) -> tuple[str, ...]:
    """The turn ids in any checkpoint of the thread: tells a turn hidden by a fork from one that is gone."""
    rows = await (await admin.execute(_EVER, {"thread": thread})).fetchall()
    return _turn_ids(blob for (blob,) in rows)


def _turn_ids(blobs: Iterable[bytes]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for blob in blobs:
        for match in TURN_ID.finditer(bytes(blob)):
            found.setdefault(match.group(0).decode(), None)
    return tuple(found)
