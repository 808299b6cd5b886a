"""What the chart of one cell shows, thinned so that a report stays small: what is odd is kept, what is usual becomes an
envelope.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checkers.no_pool_closed import leaks
from harness.checkers.reading import Reading, opened_or_closed_by, read, text
from harness.core.history import History
from harness.core.record import Mark, Timeline

#: Points of one timeline; more are thinned.
LATENCY_LIMIT = 4000
CONNECTION_LIMIT = 2000
MARK_LIMIT = 600

_Point = tuple[float, float, str]


def timeline(history: History) -> Timeline:
    """Bands, latencies, connections, marks and phases of one cell."""
    reading = read(history)
    points = [
        (call.ended_s, (call.ended_s - call.began_s) * 1000, call.status)
        for call in reading.calls
        if call.ended_s is not None
    ]
    connections = [
        (sample.time_s, sum(len(pids) for pids in sample.backends.values()))
        for sample in reading.samples
        if sample.backends is not None
    ]
    return Timeline(
        end_s=reading.end_s,
        bands=tuple((damage.kind, damage.began_s, damage.ended_s) for damage in reading.damages),
        latencies=tuple((at_s, round(ms, 1), status) for at_s, ms, status in _thinned(points, LATENCY_LIMIT)),
        calls=len(points),
        connections=tuple(_peaks(connections, CONNECTION_LIMIT)),
        marks=_marks(reading),
        phases=tuple(reading.phases.items()),
    )


def _thinned(points: Sequence[_Point], limit: int) -> list[_Point]:
    """At most ``limit`` points: every call without an answer first, of the rest the envelope."""
    if len(points) <= limit:
        return sorted(points)
    odd = _envelope([point for point in points if point[2] != "ok"], limit // 2)
    usual = _envelope([point for point in points if point[2] == "ok"], limit - len(odd))
    return sorted(odd + usual)


def _envelope(points: Sequence[_Point], limit: int) -> list[_Point]:
    """The fastest and the slowest of each slice of time."""
    if len(points) <= limit:
        return list(points)
    ordered, slices, kept = sorted(points), max(1, limit // 2), []
    for number in range(slices):
        part = ordered[number * len(ordered) // slices : (number + 1) * len(ordered) // slices]
        if part:
            kept += list({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept


def _peaks(steps: Sequence[tuple[float, int]], limit: int) -> list[tuple[float, int]]:
    """The highest of each slice, if there are more than ``limit``."""
    if len(steps) <= limit:
        return list(steps)
    return [
        max(steps[n * len(steps) // limit : (n + 1) * len(steps) // limit], key=lambda step: step[1])
        for n in range(limit)
    ]


def _marks(reading: Reading) -> tuple[Mark, ...]:
    """What is to be pointed at; when there is too much of it, the worst kinds are kept."""
    said = {call.invoke.index: words for call, words in leaks(reading)}
    leaked: list[Mark] = []
    others: list[Mark] = []
    for call in reading.calls:
        if call.end is None or (call.status == "ok" and call.invoke.index not in said):
            continue
        leak = call.invoke.index in said
        kind = "leak" if leak else "refused" if call.status == "refused" else "error"
        words = f"{call} {call.outcome}" + (f": {said[call.invoke.index]}" if leak and call.end.error is None else "")
        mark = Mark(time_s=call.end.time_s, kind=kind, text=words[:300], index=call.end.index)
        (leaked if leak else others).append(mark)
    hangs = [
        Mark(time_s=op.time_s, kind="hang", text="a call is overdue", index=op.index)
        for op in reading.points("overdue")
    ]
    pools, orders, processes = _pools(reading), _recreations(reading), _processes(reading)
    kept: list[Mark] = []
    for marks in (leaked, hangs, processes, orders, pools, others):
        kept += marks[: MARK_LIMIT - len(kept)]
    return tuple(sorted(kept, key=lambda mark: mark.time_s))


def _pools(reading: Reading) -> list[Mark]:
    kinds = {"open": "pool_opened", "close": "pool_closed_by"}
    return [
        Mark(
            time_s=op.time_s,
            kind=kinds[text(op.value, "event")],
            text=f"{text(op.value, 'pool')} by {opened_or_closed_by(op)}"[:300],
            index=op.index,
        )
        for op in reading.points("pool")
        if text(op.value, "event") in kinds
    ]


#: Of a replica group's process: the event in its life -> (kind of mark, what happened).
_LIFE = {
    "started": ("replica_up", "started"),
    "thawed": ("replica_up", "goes on"),
    "ready": ("replica_up", "takes calls"),
    "draining": ("replica_down", "takes no calls any more"),
    "ended": ("replica_down", "ended"),
}


def _processes(reading: Reading) -> list[Mark]:
    found = []
    for op in reading.points("replica"):
        event, pid = text(op.value, "event"), op.value.get("pid")
        if event == "signal":
            kind, words = "replica_down", f"was sent {text(op.value, 'signal')} with {op.value.get('in_flight')} calls"
        elif event in _LIFE:
            kind, words = _LIFE[event]
        else:
            continue
        if "status" in op.value:
            words += f" with status {op.value['status']}"
        found.append(Mark(time_s=op.time_s, kind=kind, text=f"{op.process} (pid {pid}) {words}", index=op.index))
    return found


def _recreations(reading: Reading) -> list[Mark]:
    return [
        Mark(
            time_s=op.time_s,
            kind="recreate",
            text=f"re-creation of group {op.process}" + (", ordered" if op.value.get("ordered") is True else ""),
            index=op.index,
        )
        for op, _ in reading.pairs("recreate")
    ]
