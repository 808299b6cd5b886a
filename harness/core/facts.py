"""The final reads: what the database really holds once every fault has healed and every strategy is closed.

Two readers that share no code look at each thread: a fresh agent with a fresh saver on the admin endpoint, and plain
SQL on the three tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.core.verdict import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFacts:
    """One thread's last state. ``None`` for ``turns`` or ``sql_turns`` means: that reader failed (see
    ``Facts.problems``).

    ``turns``, ``answers``, ``effects``, ``problems`` are what the agent's ``turns_in``, ``answers_in``,
    ``effects_in`` and ``problems_in`` say of the fresh agent's channel values. ``sql_turns`` are the workload's turn
    ids (any thread's) that plain SQL finds in the blobs of the newest checkpoint, in the order of their first
    appearance. ``history_turns`` are the turn ids in any checkpoint of the thread (to tell "hidden by a fork" from
    "gone"). ``exists`` is false when the tables hold no row of the thread.
    """

    thread: str
    agent: str
    exists: bool
    turns: tuple[str, ...] | None
    answers: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    sql_turns: tuple[str, ...] | None = None
    history_turns: tuple[str, ...] = ()
    forks: int = 0
    orphan_writes: int = 0
    dangling_parents: int = 0
    checkpoints: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known after the cell ended, besides its history.

    ``table_threads`` are all thread ids in the three tables, whoever wrote them. ``leftover_backends`` counts, per
    replica group, the backends still there after tear-down. ``problems`` are failures of the final reads themselves
    (they make ``no_lost_turn`` INVALID, never PASS). ``leftovers`` are toxics, locks or processes that the leak check
    found.
    """

    threads: Mapping[str, ThreadFacts] = field(default_factory=dict)
    table_threads: tuple[str, ...] = ()
    leftover_backends: Mapping[str, int] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    complete: bool = True


def facts_to_json(facts: Facts) -> dict[str, Json]:
    """``facts.json``."""
    threads: dict[str, Json] = {}
    for name, thread in facts.threads.items():
        row: dict[str, Json] = {}
        for key in ThreadFacts.__dataclass_fields__:
            value = getattr(thread, key)
            row[key] = list(value) if isinstance(value, tuple) else value
        threads[name] = row
    return {
        "threads": threads,
        "table_threads": list(facts.table_threads),
        "leftover_backends": dict(facts.leftover_backends),
        "leftovers": list(facts.leftovers),
        "problems": list(facts.problems),
        "complete": facts.complete,
    }


def facts_from_json(data: Mapping[str, Json]) -> Facts:
    """The inverse of :func:`facts_to_json`."""

    def strings(value: Json) -> tuple[str, ...]:
        return tuple(str(item) for item in value) if isinstance(value, list) else ()

    def rows(value: Json) -> dict[str, Json]:
        return value if isinstance(value, dict) else {}

    threads: dict[str, ThreadFacts] = {}
    for name, row in rows(data.get("threads")).items():
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in rows(row).items()}
        threads[name] = ThreadFacts(**values)  # type: ignore[arg-type]
    return Facts(
        threads=threads,
        table_threads=strings(data.get("table_threads")),
        leftover_backends={k: v for k, v in rows(data.get("leftover_backends")).items() if isinstance(v, int)},
        leftovers=strings(data.get("leftovers")),
        problems=strings(data.get("problems")),
        complete=bool(data.get("complete", True)),
    )
