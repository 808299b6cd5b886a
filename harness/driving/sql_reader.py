"""The second reader of the final state: plain SQL on the saver's three tables, no LangGraph code.

Turn ids are plain text inside the stored blobs, so a regular expression over the raw bytes of the newest checkpoint's
``messages`` channel (every channel, where a graph has no such channel) finds them in the order in which they were
said. Where the bytes can be taken apart (``stored_messages``), it also tells who answered what, and what stands twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.core.facts import TREE_LIMIT, Checkpoint
from harness.core.workload import TURN_ID
from harness.driving.stored_messages import Said, said_in, texts_in

_NEWEST = """
SELECT checkpoint::text FROM checkpoints
WHERE thread_id = %(t)s AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT 1
"""
_BLOBS = """
SELECT b.channel, b.type, b.blob
FROM checkpoints c
CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v(channel, version)
JOIN checkpoint_blobs b
  ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
 AND b.channel = v.channel AND b.version = v.version
WHERE c.thread_id = %(t)s AND c.checkpoint_ns = '' AND b.blob IS NOT NULL AND c.checkpoint_id = (
  SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(t)s AND checkpoint_ns = '')
"""
_EVER = """
SELECT b.channel, b.version, b.blob FROM checkpoint_blobs b
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
  (SELECT count(*) FROM checkpoints c WHERE c.thread_id = %(t)s),
  (SELECT count(*) FROM checkpoint_writes w WHERE w.thread_id = %(t)s AND w.checkpoint_ns = ''
     AND w.channel = '__interrupt__' AND w.checkpoint_id = (
       SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(t)s AND checkpoint_ns = '')),
  (SELECT count(*) FROM checkpoints c WHERE c.thread_id = %(t)s AND c.checkpoint_ns = ''
     AND c.checkpoint -> 'channel_versions' ? 'messages' AND NOT EXISTS (
       SELECT 1 FROM checkpoint_blobs b WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
         AND b.channel = 'messages' AND b.version = c.checkpoint -> 'channel_versions' ->> 'messages')),
  (SELECT count(*) FROM checkpoints c WHERE c.thread_id = %(t)s AND c.checkpoint_ns = ''
     AND c.parent_checkpoint_id IS NULL)
"""
_PENDING = """
SELECT blob FROM checkpoint_writes WHERE thread_id = %(t)s AND channel = 'messages'
"""
_TREE = """
SELECT checkpoint_id, parent_checkpoint_id, metadata ->> 'source', metadata ->> 'step',
  checkpoint -> 'channel_versions' ->> 'messages'
FROM checkpoints WHERE thread_id = %(t)s AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT %(most)s
"""
_THREADS = """
SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM checkpoint_blobs
UNION SELECT thread_id FROM checkpoint_writes ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlThread:
    """What the tables say of one thread: its newest state, and the shape of its checkpoint tree.

    ``turns`` are the ids in the newest state's raw bytes, each once; ``said`` is that state taken apart, None where it
    could not be; ``effects`` likewise. ``pending`` are the turn ids in pending writes, ``waiting`` the rows of
    interrupts at the newest checkpoint. ``tree`` are the rows of the newest checkpoints, for :func:`tree_of`. The other
    numbers are counts of rows.
    """

    turns: tuple[str, ...] = ()
    said: Said | None = None
    effects: tuple[str, ...] | None = None
    pending: tuple[str, ...] = ()
    forks: int = 0
    orphan_writes: int = 0
    dangling_parents: int = 0
    checkpoints: int = 0
    waiting: int = 0
    missing_blobs: int = 0
    roots: int = 0
    tree: tuple[tuple[Any, ...], ...] = ()


async def table_threads(admin: psycopg.AsyncConnection[Any]) -> tuple[str, ...]:
    """Every thread id in the three tables, whoever wrote it."""
    cursor = await admin.execute(_THREADS)
    return tuple(str(row[0]) for row in await cursor.fetchall())


async def read_thread(admin: psycopg.AsyncConnection[Any], thread: str) -> SqlThread:
    """Read one thread's newest checkpoints and its pending writes, and count the irregular rows: in one round trip."""
    which = {"t": thread, "most": TREE_LIMIT}
    async with admin.pipeline():
        cursors = [await admin.execute(query, which) for query in (_NEWEST, _BLOBS, _PENDING, _SHAPE, _TREE)]
        newest, held, pending, (shape,), tree = [await cursor.fetchall() for cursor in cursors]
    blobs = {str(channel): (str(kind), bytes(blob)) for channel, kind, blob in held}
    if "messages" in blobs:
        turns = _turn_ids([blobs["messages"][1]])
    else:
        turns = _turn_ids([*(blob for _, blob in blobs.values()), *(str(text).encode() for (text,) in newest)])
    forks, orphans, dangling, checkpoints, waiting, missing, roots = (int(number) for number in shape)
    return SqlThread(
        turns=turns,
        said=said_in(*blobs["messages"]) if "messages" in blobs else None,
        effects=texts_in(*blobs["effects"]) if "effects" in blobs else (),
        pending=_turn_ids(blob for (blob,) in pending),
        forks=forks,
        orphan_writes=orphans,
        dangling_parents=dangling,
        checkpoints=checkpoints,
        waiting=waiting,
        missing_blobs=missing,
        roots=roots,
        tree=tuple(tree),
    )


@dataclass(frozen=True, slots=True)
class Ever:
    """What any checkpoint of a thread holds: turn ids, and the newest one by version of the ``messages`` channel."""

    turns: tuple[str, ...]
    newest: Mapping[str, str]


async def turns_ever(admin: psycopg.AsyncConnection[Any], thread: str) -> Ever:
    """Look through every stored state: tells a turn hidden by a fork from one that is gone."""
    rows = await (await admin.execute(_EVER, {"thread": thread})).fetchall()
    newest = {}
    for channel, version, blob in rows:
        held = _turn_ids([blob])
        if channel == "messages" and held:
            newest[str(version)] = held[-1]
    return Ever(_turn_ids(blob for _, _, blob in rows), newest)


def tree_of(rows: Sequence[tuple[Any, ...]], newest_turn: Mapping[str, str]) -> tuple[Checkpoint, ...]:
    """The checkpoints in ``rows``, oldest first; ``newest_turn`` maps a version of ``messages`` to its last turn."""
    return tuple(
        Checkpoint(
            str(identity),
            None if parent is None else str(parent),
            str(source or ""),
            int(step) if str(step).lstrip("-").isdigit() else 0,
            newest_turn.get(str(version), ""),
        )
        for identity, parent, source, step, version in reversed(rows)
    )


def _turn_ids(blobs: Iterable[bytes]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for blob in blobs:
        for match in TURN_ID.finditer(bytes(blob)):
            found.setdefault(match.group(0).decode(), None)
    return tuple(found)
