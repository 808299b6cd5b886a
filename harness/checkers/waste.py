"""What a fault costs beside time: turns in doubt, nodes run in vain, saves that pile up, connections during a swap."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable

from harness.checkers.reading import Reading, SaverCall, Spans, number, text
from harness.checkers.wasted_nodes import SAVES, wasted_nodes
from harness.core.verdict import Json


def waste(reading: Reading) -> dict[str, Json]:
    """Counts; what did not happen at all is 0, except ``peak_connections_swap``, which is left out without a swap."""
    saves = [save for save in reading.saver_calls if save.f in SAVES]
    return {
        **_doubt(reading),
        **_cut(reading),
        "wasted_nodes": wasted_nodes(reading),
        **_backlog(reading, saves),
        "peak_connections_swap": _peak_while_swapping(reading),
    }


def _doubt(reading: Reading) -> dict[str, Json]:
    """Turns, not calls: a turn that is repeated until it is answered was in doubt once."""
    turns = [call for call in reading.calls if call.kind in ("turn", "resume")]
    doubted = {call.turn for call in turns if call.status in ("info", "refused", "open")}
    known = {call.turn for call in turns if call.status == "ok"}
    return {"turns_in_doubt": len(doubted), "turns_left_in_doubt": len(doubted - known)}


def _cut(reading: Reading) -> dict[str, Json]:
    """Left out where no fault cut calls short."""
    strikes = [number(call.end.value, "cancelled") for call in reading.calls if call.end is not None and call.cut]
    if not strikes:
        return {}
    return {"calls_cancelled": len(strikes), "calls_cancelled_twice": sum(count > 1 for count in strikes)}


def _backlog(reading: Reading, saves: Iterable[SaverCall]) -> dict[str, Json]:
    """Saves begun and not ended, at their peak: at one replica, and of calls that had already ended.

    Under ``async`` saves run beside the nodes, and a replica's saver serves one at a time: the rest of them wait.
    """
    ends = {call.invoke.call: call.end.index for call in reading.calls if call.end is not None}
    edges: list[tuple[int, int, SaverCall, bool]] = []
    for save in saves:
        left_at = ends.get(save.parent) if save.parent is not None else None
        last = None if save.end is None else save.end.index
        edges.append((save.invoke.index, 1, save, False))
        if last is not None:
            edges.append((last, -1, save, False))
        if left_at is not None and (last is None or last > left_at):
            edges.append((max(left_at, save.invoke.index), 1, save, True))
            if last is not None:
                edges.append((last, -1, save, True))
    edges.sort(key=lambda edge: edge[:2])
    now: Counter[str] = Counter()
    left = peak = peak_left = 0
    for _, step, save, behind in edges:
        if behind:
            left += step
            peak_left = max(peak_left, left)
        else:
            now[save.replica] += step
            peak = max(peak, now[save.replica])
    return {"peak_saves_backlog": peak, "peak_saves_left_behind": peak_left}


def _peak_while_swapping(reading: Reading) -> int | None:
    """The most backends of a group while it was replacing its pool: old and new connections stand side by side.

    A swap lasts from the opening of a further pool to the next closing of one (to the end, if none follows), and from
    the order of a re-creation to its end.
    """
    swaps, samples = _swaps(reading), reading.samples
    if not swaps or not samples:
        return None
    peak = 0
    for sample, after_s in zip(samples, [*(later.time_s for later in samples[1:]), reading.end_s], strict=True):
        for group, pids in (sample.backends or {}).items():
            if group in swaps and len(pids) > peak and swaps[group].overlaps(sample.time_s, after_s):
                peak = len(pids)
    return peak


def _swaps(reading: Reading) -> dict[str, Spans]:
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    loaded_s = reading.phases.get("gate", 0.0)  # what was opened before is no swap, but the strategy's beginning
    closed: defaultdict[str, list[float]] = defaultdict(list)
    for op in reading.points("pool"):
        if text(op.value, "event") == "close":
            closed[op.process].append(op.time_s)
    for op in reading.points("pool"):
        if text(op.value, "event") == "open" and op.time_s > loaded_s and number(op.value, "generation") > 1:
            at = bisect_left(closed[op.process], op.time_s)
            until_s = closed[op.process][at] if at < len(closed[op.process]) else reading.driving_end_s
            spans[op.process].append((op.time_s, max(op.time_s, until_s)))
    for op, end in reading.pairs("recreate"):
        spans[op.process].append((op.time_s, reading.driving_end_s if end is None else end.time_s))
    return {group: Spans(found) for group, found in spans.items()}
