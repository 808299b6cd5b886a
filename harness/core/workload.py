"""Who takes a turn next. Workloads are pure: the last outcome in, the next action out, every choice from the seed.

Threads and turns get their ids here and nowhere else: what looks for turn ids in raw bytes has to know them again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.core.agent import Turn

#: Every id that :func:`turn_id` makes, in the bytes that a saver stores.
TURN_ID = re.compile(rb"[A-Za-z0-9_.+-]+\.u\d+\.\d+/t\d+")


def user_name(number: int) -> str:
    """``u0`` ..."""
    return f"u{number}"


def thread_id(agent: str, user: str, number: int) -> str:
    """The ``number``th thread that ``user`` (a :func:`user_name`) opened with ``agent``."""
    return f"{agent}.{user}.{number}"


def turn_id(thread: str, number: int) -> str:
    """The ``number``th turn of a :func:`thread_id`; a turn id names its thread."""
    return f"{thread}/t{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a user does next: wait ``think_s``, then make one call of ``kind`` on ``agent`` in ``group``.

    ``attempt`` counts from 1 the tries of the same call. ``target``: for a fork, the acknowledged turn that it takes
    back; for a resume, the ids of the interrupts to answer, joined by commas.
    """

    think_s: float
    kind: str
    agent: str
    group: str
    turn: Turn
    attempt: int = 1
    target: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the user's last call ended: ``status`` is ok, fail or info; ``waiting`` the interrupts that an ok answer
    reported.
    """

    status: str
    waiting: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()


class User(Protocol):
    """One user, with at most one call at a time."""

    @property
    def name(self) -> str: ...

    def next(self, last: Outcome | None) -> Action | None:
        """The next action after ``last`` (None at the beginning); None when this user is done."""
        ...


class Workload(Protocol):
    """Makes the users of one cell. A frozen dataclass: its fields are its configuration."""

    def users(self, *, seed: int, agents: Sequence[str], groups: Sequence[str]) -> Sequence[User]:
        """The users of the cell, all their choices drawn from ``seed``."""
        ...
