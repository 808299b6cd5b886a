"""How many nodes ran in vain: they ended behind a failed save of their attempt, which can no longer be acknowledged.

A measure that stands beside the guarantees, and part of the proof where an incident's users saw steps that were never
stored (``core.incident``).
"""

from __future__ import annotations

from collections import defaultdict

from harness.checkers.reading import Reading, SaverCall
from harness.core.history import ErrorInfo

SAVES = ("aput", "aput_writes")


def wasted_nodes(reading: Reading) -> int:
    """A node that ends saves its writes (``aput_writes``), so those begun behind the failure are counted.

    Under ``exit`` nothing is saved before the end, and so nothing is wasted by this measure. A save that was cancelled
    with its attempt did not fail first.
    """
    by_call: defaultdict[int, list[SaverCall]] = defaultdict(list)
    for save in reading.saver_calls:
        if save.f in SAVES and save.parent is not None:
            by_call[save.parent].append(save)
    wasted = 0
    for op, end in reading.pairs("attempt"):
        parent = op.value.get("parent")
        of_call = by_call[parent] if isinstance(parent, int) else []
        last = float("inf") if end is None else end.index
        mine = [save for save in of_call if op.index < save.invoke.index < last]
        ends = [save.end for save in mine if save.end is not None]
        first = min((end.index for end in ends if _failed(end.error)), default=None)
        if first is not None:
            wasted += sum(save.f == "aput_writes" and save.invoke.index > first for save in mine)
    return wasted


def _failed(error: ErrorInfo | None) -> bool:
    return error is not None and error.type != "CancelledError"
