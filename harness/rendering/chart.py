"""The geometry of a cell's timeline: what happened when, as rectangles, paths and labels for an inline SVG.

Only numbers and plain strings come out; the template draws them, and escapes every string. Four lanes share one time
axis: faults, latency of every call (logarithmic, so that 5 ms and 8 s can both be seen), events, connections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.core.record import Mark, Timeline

_T = TypeVar("_T")

WIDTH = 1000
LEFT, RIGHT = 64, 14
FAULTS_TOP, FAULT_HEIGHT = 6, 17
LATENCY_HEIGHT = 150
EVENTS_HEIGHT = 30
CONNECTIONS_HEIGHT = 46
AXIS_HEIGHT = 22
GAP = 10
#: Fault lanes and events beyond these are counted instead of drawn.
MOST_LANES, MOST_MARKS = 4, 240
#: Calls that were not answered are drawn in any case, up to this many of each kind.
FEWEST_GLYPHS = 40

#: Marks on the events lane, worst first: kind -> (shape, what a reader calls it).
EVENTS = {
    "leak": ("diamond", "PoolClosed at a caller"),
    "hang": ("bar", "call overdue"),
    "replica_down": ("down", "replica process down"),
    "pool_closed_by": ("cross", "pool closed"),
    "recreate": ("ring", "re-creation"),
    "pool_opened": ("up", "pool opened"),
    "replica_up": ("up", "replica process up"),
    "error": ("cross", "error"),
    "refused": ("square", "refused"),
}
_ON_LATENCY = ("error", "refused")  # already drawn as calls


class PathData(str):
    """The ``d`` of an SVG path: made of numbers only, and never cut however long it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with words: a fault's window, or where one stood under the latency lane."""

    x: float
    y: float
    width: float
    height: float
    text: str
    lane: int


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a place."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Calls or events of one kind: one path for all of them, and how many of how many it shows."""

    kind: str
    name: str
    path: PathData
    shown: int
    total: int


@dataclass(frozen=True, slots=True)
class Title:
    """A place that tells more when it is pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One timeline, ready to be drawn into a ``WIDTH`` x ``height`` view box."""

    height: float
    latency_top: float
    latency_bottom: float
    events_y: float
    connections_top: float
    connections_bottom: float
    fault_labels: tuple[Label, ...]
    windows: tuple[Box, ...]
    shades: tuple[Box, ...]
    grid: tuple[Label, ...]
    ticks: tuple[Label, ...]
    phases: tuple[Label, ...]
    envelope: PathData
    calls: tuple[Glyphs, ...]
    events: tuple[Glyphs, ...]
    titles: tuple[Title, ...]
    connections: PathData
    peak: Label | None
    words: str
    thinned: str


def chart(timeline: Timeline, *, points: int, buckets: int, titles: int = 40) -> Chart:
    """Lay out a timeline.

    Answered calls are drawn one by one up to ``points`` of them, beyond that as the area between the fastest and the
    slowest of each of ``buckets`` intervals. All other calls are always drawn one by one, up to the same number of
    each kind (and at least ``FEWEST_GLYPHS``). The worst ``titles`` events tell more when they are pointed at.
    """
    end_s = max([timeline.end_s, 0.001, *(stop for _, _, stop in timeline.bands if math.isfinite(stop))])
    lanes = _lanes(timeline)
    latency_top = FAULTS_TOP + max(1, min(len(lanes), MOST_LANES)) * FAULT_HEIGHT + GAP
    latency_bottom = latency_top + LATENCY_HEIGHT
    events_y = latency_bottom + GAP + EVENTS_HEIGHT / 2
    connections_top = latency_bottom + 2 * GAP + EVENTS_HEIGHT
    connections_bottom = connections_top + CONNECTIONS_HEIGHT
    time = _Scale(0.0, end_s, LEFT, WIDTH - RIGHT)
    latency = _latency_scale(timeline, latency_top, latency_bottom)
    windows, shades, fault_labels = _faults(timeline, lanes, time, latency_top, connections_bottom)
    answered, others = _by_status(timeline)
    drawn_one_by_one = len(answered) <= points
    calls = [_call_glyphs("ok", answered, time, latency, points)] if drawn_one_by_one else []
    calls += [
        _call_glyphs(status, rows, time, latency, max(points, FEWEST_GLYPHS)) for status, rows in sorted(others.items())
    ]
    events = _events(timeline.marks, time, events_y)
    connections, peak = _connections(timeline, time, connections_top, connections_bottom, buckets)
    return Chart(
        height=connections_bottom + AXIS_HEIGHT,
        latency_top=latency_top,
        latency_bottom=latency_bottom,
        events_y=events_y,
        connections_top=connections_top,
        connections_bottom=connections_bottom,
        fault_labels=fault_labels,
        windows=windows,
        shades=shades,
        grid=_grid(latency),
        ticks=_ticks(time, end_s, connections_bottom),
        phases=_phases(timeline, time, latency_top),
        envelope=PathData() if drawn_one_by_one else _envelope(answered, time, latency, end_s, buckets),
        calls=tuple(calls),
        events=events,
        titles=_titles(timeline.marks, time, events_y, titles),
        connections=connections,
        peak=peak,
        words=_in_words(timeline, answered, others),
        thinned=_thinned(timeline, answered if not drawn_one_by_one else (), calls, events, len(lanes)),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps a value to a place; values outside go to the nearest end."""

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low) if high > low else 0.0
        return round(self.first + share * (self.last - self.first), 1)


_Calls = Sequence[tuple[float, float]]  # (completion time in s, latency in ms)


def _by_status(timeline: Timeline) -> tuple[_Calls, dict[str, _Calls]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for time_s, latency_ms, status in timeline.latencies:
        if math.isfinite(time_s) and math.isfinite(latency_ms):
            found.setdefault(status, []).append((time_s, latency_ms))
    answered = found.pop("ok", [])
    return answered, dict(found)


def _latency_scale(timeline: Timeline, top: float, bottom: float) -> _Scale:
    values = [ms for _, ms, _ in timeline.latencies if math.isfinite(ms) and ms > 0]
    low = 10.0 ** math.floor(math.log10(max(min(values, default=1.0), 0.1)))
    high = 10.0 ** math.ceil(math.log10(max(max(values, default=1000.0), low * 10)))
    return _Scale(low, high, bottom, top, log=True)


# -- faults -------------------------------------------------------------------------------------------------------


def _lanes(timeline: Timeline) -> list[str]:
    """The distinct faults, in the order in which they first strike."""
    return list(dict.fromkeys(fault for fault, _, _ in timeline.bands))


def _faults(
    timeline: Timeline, lanes: Sequence[str], time: _Scale, shade_top: float, shade_bottom: float
) -> tuple[tuple[Box, ...], tuple[Box, ...], tuple[Label, ...]]:
    windows, shades = [], []
    labels = []
    for lane, fault in enumerate(lanes[:MOST_LANES]):
        bands = [(start, stop) for name, start, stop in timeline.bands if name == fault]
        y = FAULTS_TOP + lane * FAULT_HEIGHT
        for start, stop in bands:
            x = time(start)
            width = max(1.5, round(time(stop) - x, 1))
            words = f"{fault}, {start:.2f} s to {stop:.2f} s"
            windows.append(Box(x, y, width, FAULT_HEIGHT - 4, words, lane))
            shades.append(Box(x, shade_top, width, shade_bottom - shade_top, words, lane))
        labels.append(_fault_label(fault, bands, time, y))
    return tuple(windows), tuple(shades), tuple(labels)


def _fault_label(fault: str, bands: Sequence[tuple[float, float]], time: _Scale, y: float) -> Label:
    """Beside the lane's windows where there is room: after the last one, else before the first, else on top."""
    text = fault if len(bands) == 1 else f"{fault} × {len(bands)}"
    text = text if len(text) <= 60 else f"{text[:59]}…"
    room = 6.6 * len(text) + 8
    after, before = time(max(stop for _, stop in bands)), time(min(start for start, _ in bands))
    if after + room < WIDTH - RIGHT:
        return Label(round(after + 5, 1), y + 11, text)
    return Label(round(max(LEFT + 2.0, before - room), 1), y + 11, text)


# -- calls --------------------------------------------------------------------------------------------------------

_SHAPES = {
    "dot": "h0",
    "cross": "m-3-3l6 6m0-6l-6 6",
    "square": "m-2.5-2.5h5v5h-5z",
    "down": "m-3-2.5h6l-3 5.5z",
    "diamond": "m0-6l4.5 6l-4.5 6l-4.5-6z",
    "bar": "m0-8v16",
    "ring": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "up": "m-3.5 3.5h7l-3.5-7z",
}
_CALLS = {
    "ok": ("dot", "answered"),
    "info": ("down", "in doubt"),
    "fail": ("cross", "failed"),
    "refused": ("square", "refused"),
    "leak": ("diamond", "PoolClosed"),
}

CALL_KINDS = frozenset(_CALLS)

#: The shape of each kind around the origin, for legends.
KEYS = {
    **{kind: f"M0 0{_SHAPES[shape]}" for kind, (shape, _) in EVENTS.items()},
    **{kind: f"M0 0{_SHAPES[shape]}" for kind, (shape, _) in _CALLS.items()},
}


def _call_glyphs(status: str, rows: _Calls, time: _Scale, latency: _Scale, most: int) -> Glyphs:
    shape, name = _CALLS.get(status, ("down", status))
    kept = _spread(rows, most)
    path = PathData("".join(f"M{_n(time(t))} {_n(latency(ms))}{_SHAPES[shape]}" for t, ms in kept))
    kind = status if status in _CALLS else "info"
    return Glyphs(kind, name, path, len(kept), len(rows))


def _envelope(rows: _Calls, time: _Scale, latency: _Scale, end_s: float, buckets: int) -> PathData:
    """The area between the fastest and the slowest call of each interval, one closed path per unbroken stretch."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    for t, ms in rows:
        bucket = min(buckets - 1, max(0, int(t / end_s * buckets)))
        low[bucket] = min(ms, low.get(bucket, ms))
        high[bucket] = max(ms, high.get(bucket, ms))
    paths = []
    for stretch in _stretches(sorted(low)):
        edges = [round(time(bucket * end_s / buckets)) for bucket in (*stretch, stretch[-1] + 1)]
        top = [round(latency(high[bucket]) - 1) for bucket in stretch]
        bottom = [round(latency(low[bucket]) + 1) for bucket in stretch]
        there = [f"V{y}H{x}" for y, x in zip(top, edges[1:], strict=True)]
        back = [f"V{y}H{x}" for y, x in zip(reversed(bottom), reversed(edges[:-1]), strict=True)]
        paths.append(f"M{edges[0]} {top[0]}{''.join(there)}{''.join(back)}z")
    return PathData("".join(paths))


def _stretches(buckets: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for bucket in buckets:
        if found and found[-1][-1] == bucket - 1:
            found[-1].append(bucket)
        else:
            found.append([bucket])
    return found


# -- events -------------------------------------------------------------------------------------------------------


def _events(marks: Sequence[Mark], time: _Scale, y: float) -> tuple[Glyphs, ...]:
    found = []
    for kind, (shape, name) in reversed(EVENTS.items()):  # the worst is drawn last, so that nothing hides it
        here = [mark for mark in marks if mark.kind == kind and math.isfinite(mark.time_s)]
        if not here or kind in _ON_LATENCY:
            continue
        kept = _spread(here, MOST_MARKS)
        path = PathData("".join(f"M{_n(time(mark.time_s))} {_n(y)}{_SHAPES[shape]}" for mark in kept))
        found.append(Glyphs(kind, name, path, len(kept), len(here)))
    return tuple(found)


def _titles(marks: Sequence[Mark], time: _Scale, y: float, most: int) -> tuple[Title, ...]:
    order = list(EVENTS)
    here = [mark for mark in marks if mark.kind in EVENTS and mark.kind not in _ON_LATENCY]
    here = sorted((mark for mark in here if math.isfinite(mark.time_s)), key=lambda mark: order.index(mark.kind))
    return tuple(
        Title(time(mark.time_s), y, f"{mark.time_s:.3f} s: {EVENTS[mark.kind][1]}: {mark.text}") for mark in here[:most]
    )


# -- connections, axes, words -------------------------------------------------------------------------------------


def _connections(
    timeline: Timeline, time: _Scale, top: float, bottom: float, buckets: int
) -> tuple[PathData, Label | None]:
    """A stepped area, the most of each of ``buckets`` intervals, and its peak; nothing if there are no samples."""
    samples = [(t, n) for t, n in timeline.connections if math.isfinite(t)]
    if not samples:
        return PathData(), None
    peak_s, peak = max(samples, key=lambda sample: sample[1])
    level = _Scale(0.0, float(max(peak, 1)), bottom, top)
    most: dict[int, int] = {}
    for t, n in samples:
        place = round(time(t) / WIDTH * buckets)
        most[place] = max(n, most.get(place, 0))
    steps = [f"M{round(time(samples[0][0]))} {round(bottom)}"]
    last: int | None = None
    for place, n in sorted(most.items()):
        y = round(level(n))
        if y != last:
            steps.append(f"H{round(place * WIDTH / buckets)}V{y}")
            last = y
    steps.append(f"H{round(time(samples[-1][0]))}V{round(bottom)}z")
    return PathData("".join(steps)), Label(min(time(peak_s), WIDTH - RIGHT - 70.0), top - 1, f"peak {peak}")


def _grid(latency: _Scale) -> tuple[Label, ...]:
    names = {0.1: "0.1 ms", 1: "1 ms", 10: "10 ms", 100: "100 ms", 1000: "1 s", 10_000: "10 s", 100_000: "100 s"}
    lines = []
    value = latency.low
    while value <= latency.high * 1.001:
        lines.append(Label(LEFT - 8, latency(value), names.get(round(value, 1), f"{value / 1000:g} s")))
        value *= 10
    return tuple(lines)


def _ticks(time: _Scale, end_s: float, bottom: float) -> tuple[Label, ...]:
    step = next((s for s in (0.1, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600) if end_s / s <= 12), end_s)
    return tuple(Label(time(n * step), bottom + 16, f"{n * step:g} s") for n in range(int(end_s / step) + 1))


def _phases(timeline: Timeline, time: _Scale, top: float) -> tuple[Label, ...]:
    """Where phases begin; the name is left out where it would run into the one before or off the picture."""
    told = {"gate", "drive", "healed", "converged", "unconverged"}
    found: list[Label] = []
    free = 0.0
    for name, at in sorted(timeline.phases, key=lambda phase: phase[1] if math.isfinite(phase[1]) else 0.0):
        if name not in told or not math.isfinite(at):
            continue
        x = time(at)
        end = x + 5.6 * len(name) + 6
        fits = x >= free and end < WIDTH - RIGHT
        found.append(Label(x, top + 10, name if fits else ""))
        free = end if fits else free
    return tuple(found)


def _in_words(timeline: Timeline, answered: _Calls, others: dict[str, _Calls]) -> str:
    """What the picture shows, for readers who cannot see it."""
    calls = [f"{len(answered)} calls answered", *(f"{len(rows)} {status}" for status, rows in sorted(others.items()))]
    faults = [f"{name} from {start:.1f} s to {stop:.1f} s" for name, start, stop in timeline.bands[:6]]
    if len(timeline.bands) > 6:
        faults.append(f"{len(timeline.bands) - 6} more windows")
    leaks = sum(mark.kind == "leak" for mark in timeline.marks)
    parts = [f"{timeline.end_s:.1f} seconds", ", ".join(calls), f"faults: {'; '.join(faults) or 'none'}"]
    return ". ".join([*parts, f"PoolClosed at callers: {leaks}"]) + "."


def _thinned(
    timeline: Timeline, enveloped: _Calls, calls: Sequence[Glyphs], events: Sequence[Glyphs], lanes: int
) -> str:
    """What the picture leaves out, in words; empty if it shows everything."""
    cut = [f"{g.shown:,} of {g.total:,} {g.name}" for g in (*calls, *events) if g.shown < g.total]
    if lanes > MOST_LANES:
        cut.append(f"{MOST_LANES} of {lanes} kinds of fault")
    shown = [f"showing {', '.join(cut)}"] if cut else []
    if enveloped:
        shown.append(f"{len(enveloped):,} answered calls shown as the range from fastest to slowest")
    if len(timeline.latencies) < timeline.calls:
        few = f"{len(timeline.latencies):,} of {timeline.calls:,}"
        shown.append(f"drawn from {few} calls, those without an answer first")
    return "; ".join(shown)


def _spread(rows: Sequence[_T], most: int) -> Sequence[_T]:
    """At most ``most`` of the rows, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return rows
    step = (len(rows) - 1) / max(1, most - 1)
    return [rows[round(i * step)] for i in range(most)]


def _n(value: float) -> str:
    """A coordinate in as few characters as it needs."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
