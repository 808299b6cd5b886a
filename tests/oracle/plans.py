"""What happens in one run: who says what, which saver call goes wrong and how, which replica group crashes when.

A plan is plain data, so that Hypothesis can draw and shrink it and a failure can be written down as a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hypothesis import strategies as st


class Trouble(StrEnum):
    """How one saver call goes wrong."""

    REFUSED = "refused"  # an error, and the server never saw the request
    ANSWER_LOST = "answer_lost"  # an error, and the server has done it
    LATE = "late"  # an error, and the server does it some time later
    STALLS = "stalls"  # no answer for longer than the deadline


@dataclass(frozen=True, slots=True)
class Plan:
    """``users``: what each user does, of SAYINGS. ``troubles``: from which saver call on (counted over the run), how,
    and for how many calls. ``crashes``: at which saver call, and which of the two groups.

    ``style`` is how the strategy serves: "plain", "finish" (tries again by ``finish``), "deadline" (gives up in time)
    or "degrade" (refuses in words).
    """

    seed: int = 0
    users: tuple[tuple[str, ...], ...] = (("turn",),)
    troubles: tuple[tuple[int, Trouble, int], ...] = ()
    crashes: tuple[tuple[int, int], ...] = ()
    style: str = "plain"
    durability: str = "async"


SAYINGS = ("turn", "restore", "fork", "delete", "new")
STYLES = ("plain", "finish", "deadline", "degrade")


def plans(*, troubled: bool = True) -> st.SearchStrategy[Plan]:
    """Plans of one to three users. Untroubled ones have no failing call, and still crashes."""
    saying = st.sampled_from(("turn", "turn", "turn", *SAYINGS))
    script = st.lists(saying, min_size=1, max_size=5).map(tuple)
    # A fork needs two acknowledged turns before it, which a script drawn word by word hardly ever has.
    goes_back = st.lists(saying, max_size=2).map(lambda rest: ("turn", "turn", "fork", *rest))
    calls = st.integers(0, 120)
    trouble = st.tuples(calls, st.sampled_from(tuple(Trouble)), st.sampled_from((1, 1, 1, 2, 5, 20)))
    return st.builds(
        Plan,
        seed=st.integers(0, 2**16),
        users=st.lists(script | script | goes_back, min_size=1, max_size=3).map(tuple),
        troubles=st.lists(trouble, max_size=4).map(tuple) if troubled else st.just(()),
        crashes=st.lists(st.tuples(calls, st.integers(0, 1)), max_size=2).map(tuple),
        style=st.sampled_from(STYLES),
        durability=st.sampled_from(("async", "sync", "exit")),
    )
