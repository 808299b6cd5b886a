"""A second judge, for one thread as a list that is appended to: is there any order of the calls that explains it all?

The search of Wing and Gong, with Lowe's memory of what was tried. It knows nothing of codes and excuses, and costs too
much for a real history; on small ones it is an independent opinion of what the checkers say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One call, from row ``began`` to row ``ended`` (infinite if nobody knows how it ended: it may act at any time, or
    never). ``turn`` is what it appends, unless it is there already; empty for a read. ``shown`` is the list that it
    returned, None if it returned none; it may be the list from just before the step's own turn.
    """

    began: float
    ended: float
    turn: str
    shown: tuple[str, ...] | None


def linearizable(steps: Sequence[Step]) -> bool:
    """True if the steps, each at one moment between its rows, explain every list that was shown."""
    tried: set[tuple[frozenset[int], tuple[str, ...]]] = set()
    stack: list[tuple[frozenset[int], tuple[str, ...]]] = [(frozenset(), ())]
    certain = frozenset(n for n, step in enumerate(steps) if step.ended < math.inf)
    while stack:
        done, state = stack.pop()
        if certain <= done:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        left = [n for n in range(len(steps)) if n not in done]
        earliest = min(steps[n].ended for n in left)
        for n in left:
            step = steps[n]
            if step.began > earliest:
                continue
            after = state if not step.turn or step.turn in state else (*state, step.turn)
            if step.shown is None or step.shown in (state, after):
                stack.append((done | {n}, after))
    return False
