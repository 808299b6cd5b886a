"""The final reads: what the database really holds once every fault has healed and every strategy is closed.

Two readers that share no code look at each thread: a fresh agent with a fresh saver on the admin endpoint, and plain
SQL on the three tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.core.shape import build
from harness.core.verdict import Json

#: Checkpoints of one thread's tree that are kept, the newest.
TREE_LIMIT = 1_000


class Checkpoint(NamedTuple):
    """One node of a thread's checkpoint tree. ``parent`` is None at the root; ``turn`` is the newest turn that this
    checkpoint holds, empty where nobody looked.
    """

    id: str
    parent: str | None
    source: str
    step: int
    turn: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFacts:
    """One thread's last state. ``None`` for ``turns`` or ``sql_turns`` means: that reader failed (see
    ``Facts.problems``).

    ``turns``, ``answers``, ``effects``, ``problems`` are what the agent's ``turns_in``, ``answers_in``,
    ``effects_in`` and ``problems_in`` say of the fresh agent's channel values. ``sql_turns`` are the workload's turn
    ids (any thread's) that plain SQL finds in the blobs of the newest checkpoint, in the order of their first
    appearance. ``history_turns`` are the turn ids in any checkpoint of the thread (to tell "hidden by a fork" from
    "gone"). ``exists`` is false when the tables hold no row of the thread.

    ``sql_exact`` says that plain SQL could take the newest state apart message by message: then ``sql_turns`` holds
    repetitions in their order, and ``sql_answers`` and ``sql_effects`` are what the other reader calls ``answers`` and
    ``effects``. ``sql_waiting`` counts the rows of interrupts at the newest checkpoint, ``pending_turns`` are the turn
    ids in pending writes, ``missing_blobs`` counts checkpoints that name messages which the tables do not hold; None
    and empty where nobody looked. ``tree`` holds the newest checkpoints, oldest first.
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
    sql_exact: bool = False
    sql_answers: tuple[str, ...] = ()
    sql_effects: tuple[str, ...] = ()
    sql_waiting: int | None = None
    pending_turns: tuple[str, ...] = ()
    missing_blobs: int = 0
    tree: tuple[Checkpoint, ...] = ()


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
        row["tree"] = [list(checkpoint) for checkpoint in thread.tree]
        threads[name] = row
    return {
        "threads": threads,
        "table_threads": list(facts.table_threads),
        "leftover_backends": dict(facts.leftover_backends),
        "leftovers": list(facts.leftovers),
        "problems": list(facts.problems),
        "complete": facts.complete,
    }


def facts_from_json(data: Mapping[str, Json], where: str = "facts.json") -> Facts:
    """The inverse of :func:`facts_to_json`; UsageError that begins with ``where`` on anything else."""
    return build(Facts, data, where)
