"""Whether a window was seen to act on this cell's own traffic: each kind of effect has its own proof.

A fault that was installed and removed, but that nobody felt, proves nothing about the strategy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from harness.checkers.reading import Damage, Reading, number
from harness.core.fault import Effect
from harness.core.verdict import Json

#: An operation stalled if it took longer than this, and than so many times the gate's 95th percentile of its kind.
STALLED_S = 0.25
STALLED_FACTOR = 3.0
#: A busy machine makes one of a thousand operations stall, so one alone shows nothing. Where the database was away, so
#: many must have stalled for so much of the window, if none failed; where it was usable, so many at all. (Of 140
#: windows of the first sort each made operations fail; a narrow link stalls 3 to 90, and no fault at all 0 or 1.)
STALLED_AWAY, STALLED_AWAY_SHARE = 3, 0.5
STALLED_USABLE = 2
#: At least this share of the configured delay must be seen, at this quantile of the window's saver calls.
DELAY_SHARE = 0.8
DELAY_QUANTILE = 0.9
#: An ordered re-creation must meet this many calls in flight, and a queue.
RECREATED_UNDER = 3
#: So many calls must have been cut short.
CANCELLED_LEAST = 3
#: The watchdog tells a stall when it is over, so long after it at most.
STALL_TOLD_S = 1.0
#: How long after a window a connection from before may take to be seen gone, in seconds.
RENEWED_WITHIN_S = 5.0


class Timed(NamedTuple):
    """One operation on the database's path; ``ended_s`` is the history's end if it never completed."""

    f: str
    began_s: float
    ended_s: float
    bad: bool
    saver: bool


def unseen(damage: Damage, reading: Reading) -> str | None:
    """Why the window cannot be said to have acted; None if its effect was seen."""
    judge = _EFFECTS.get(damage.effect)
    if judge is None:
        return f"names no effect that could be looked for ({damage.effect or 'none'!r})"
    return judge(damage, reading)


def operations(reading: Reading) -> Iterator[Timed]:
    """Calls of users and of savers."""
    for call in reading.calls:
        ended_s = reading.end_s if call.ended_s is None else call.ended_s
        yield Timed(call.kind, call.began_s, ended_s, call.status != "ok", False)
    for saver in reading.saver_calls:
        ended_s = reading.end_s if saver.ended_s is None else saver.ended_s
        bad = saver.end is None or saver.end.error is not None
        yield Timed(saver.f, saver.began_s, ended_s, bad, True)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value with at least ``share`` of all at or below it; 0 of none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _gate(reading: Reading) -> dict[str, list[float]]:
    """Durations of what ended well before the first window, by kind, in seconds."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    for op in operations(reading):
        if op.ended_s <= reading.gate_end_s and not op.bad:
            took[op.f].append(op.ended_s - op.began_s)
    return took


def _within(damage: Damage, reading: Reading) -> list[Timed]:
    return [op for op in operations(reading) if op.began_s <= damage.ended_s and op.ended_s >= damage.began_s]


def _told(words: str, damage: Damage, reading: Reading) -> bool:
    """Whether a saver call of the window ended in an error that says ``words``, or was caused by one."""
    for saver in reading.saver_calls:
        end = saver.end
        if end is None or end.error is None or not (saver.began_s <= damage.ended_s and damage.began_s <= end.time_s):
            continue
        if any(words in text for text in (end.error.message, *(link[2] for link in end.error.links))):
            return True
    return False


def _disturbs(damage: Damage, reading: Reading) -> str | None:
    words = damage.change.get("tells")
    if isinstance(words, str):  # its own words, so that no other fault of the plan can stand in for it
        return None if _told(words, damage, reading) else f"disturbed nobody: no saver call ended in {words!r}"
    within = _within(damage, reading)
    if any(op.bad for op in within):
        return None
    gate = _gate(reading)
    usual = {f: max(STALLED_S, STALLED_FACTOR * quantile(took, 0.95)) for f, took in gate.items()}
    least_s = 0.0 if damage.usable else STALLED_AWAY_SHARE * (damage.ended_s - damage.began_s)
    stalled = sum(op.ended_s - op.began_s > max(least_s, usual.get(op.f, STALLED_S)) for op in within)
    if stalled >= (STALLED_USABLE if damage.usable else STALLED_AWAY):
        return None
    return f"disturbed nobody: {len(within)} calls and saver calls met it, none failed and {stalled} stalled"


def _delays(damage: Damage, reading: Reading) -> str | None:
    gate = _gate(reading)
    usual = {f: quantile(took, 0.5) for f, took in gate.items()}
    # Queries that began before the damage stood were not all delayed by it; those that began inside it were.
    late = [
        op.ended_s - op.began_s - usual.get(op.f, 0.0)
        for op in _within(damage, reading)
        if op.saver and op.began_s >= damage.began_s
    ]
    if not late:
        return "delayed nobody: no saver call began inside it"
    seen_ms, least_ms = quantile(late, DELAY_QUANTILE) * 1000, DELAY_SHARE * damage.delay_ms
    if seen_ms >= least_ms and damage.delay_ms > 0:
        return None
    return (
        f"delayed saver calls by {seen_ms:.0f} ms (90th percentile of {len(late)}), at least {least_ms:.0f} ms are due"
    )


def _renews(damage: Damage, reading: Reading) -> str | None:
    earlier = (sample.backends or {} for sample in reversed(reading.samples) if sample.time_s <= damage.began_s)
    before = next((backends for backends in earlier if any(backends.values())), None)
    if before is None:  # a pool that keeps no connections shows none in many a sample, but not in all
        return "renewed nothing: no backend was seen before it"
    if number(damage.change, "sessions_ended", 1.0) < 1:  # some pools renew their backends all the time by themselves
        return "ended no session: what was renewed, was so without it"
    for sample in reading.samples:
        if damage.began_s < sample.time_s <= damage.ended_s + RENEWED_WITHIN_S and sample.backends is not None:
            for group, pids in before.items():
                if pids - sample.backends.get(group, frozenset()):
                    return None
    return "renewed nothing: every backend from before it was still there afterwards"


def _lingers(damage: Damage, reading: Reading) -> str | None:
    seen = number(damage.change, "lingering_sockets") >= 1
    return None if seen else "made no closing slow: no socket was seen half closed"


def _recreates(damage: Damage, reading: Reading) -> str | None:
    orders = [
        op.value
        for op, _ in reading.pairs("recreate")
        if op.value.get("ordered") is True and damage.began_s <= op.time_s <= damage.ended_s
    ]
    if not orders:
        return "ordered no re-creation"
    for value in orders:
        queued = number(value, "waiters") >= 1 or number(value, "saver_waiters") >= 1
        queued = queued or damage.fault.get("queued") is False  # the scenario asks for calls in flight only
        if number(value, "in_flight") >= RECREATED_UNDER and queued:
            return None
    best = max(number(value, "in_flight") for value in orders)
    return f"ordered re-creations at a harmless moment: {best:.0f} calls in flight at most, or nobody queued"


def _checks(damage: Damage, reading: Reading) -> str | None:
    due = number(damage.fault, "callers", 2.0)
    most = _side_by_side("ensure_healthy", damage, reading)
    return None if most >= due else f"{most} health checks ran side by side, {due:.0f} are due"


def _side_by_side(f: str, damage: Damage, reading: Reading) -> int:
    """How many operations ``f`` that began in the window ran at one time, at most."""
    edges: list[tuple[int, int]] = []
    for op, end in reading.pairs(f):
        if damage.began_s <= op.time_s <= damage.ended_s:
            edges += [(op.index, 1)] if end is None else [(op.index, 1), (end.index, -1)]
    now = most = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


def _sets_up(damage: Damage, reading: Reading) -> str | None:
    most, due = _side_by_side("setup", damage, reading), max(2.0, number(damage.change, "setups"))
    return None if most >= due else f"{most} set-ups ran side by side, {due:.0f} are due"


def _cancels(damage: Damage, reading: Reading) -> str | None:
    cut = [call for call in reading.calls if call.cut and damage.began_s <= call.began_s <= damage.ended_s]
    twice = sum(call.end is not None and number(call.end.value, "cancelled") > 1 for call in cut)
    if len(cut) < CANCELLED_LEAST:
        return f"cut {len(cut)} calls short, {CANCELLED_LEAST} are due"
    return "cancelled no call twice" if "again" in damage.fault and not twice else None


def _stalls(damage: Damage, reading: Reading) -> str | None:
    due_s = DELAY_SHARE * max(1.0, number(damage.change, "stalls")) * damage.delay_ms / 1000
    until_s = damage.ended_s + STALL_TOLD_S
    rows = [op.value for op in reading.points("stall") if damage.began_s <= op.time_s <= until_s]
    seen_s = sum(number(value, "ordered_s") for value in rows)
    return None if seen_s >= due_s > 0 else f"had the loop stand still for {seen_s:.2f} s, {due_s:.2f} s are due"


def _strikes(damage: Damage, reading: Reading) -> str | None:
    """A hit is felt if a saver call that was waiting just then failed, or took as much longer as the hit lasts."""
    hits = damage.change.get("hits")
    times_s = [number(hit, "time_s", -1.0) for hit in hits if isinstance(hit, dict)] if isinstance(hits, list) else []
    if not times_s:
        return f"hit no message: {number(damage.change, 'seen'):.0f} of its moments came"
    least_s = {f: DELAY_SHARE * damage.delay_ms / 1000 + quantile(took, 0.5) for f, took in _gate(reading).items()}
    for op in _within(damage, reading):
        late = damage.delay_ms > 0 and op.ended_s - op.began_s >= least_s.get(op.f, math.inf)
        if op.saver and (op.bad or late) and any(op.began_s <= time_s <= op.ended_s for time_s in times_s):
            return None
    return f"hit {len(times_s)} messages, and no saver call that waited for one of them failed or was kept waiting"


def _processes(damage: Damage) -> list[dict[str, Json]]:
    """What the kernel said of the processes that were hit while they had calls in flight."""
    found = damage.change.get("processes")
    hit = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return [process for process in hit if number(process, "in_flight") >= 1]


def _strands(damage: Damage, reading: Reading) -> str | None:
    """The process is dead by SIGKILL or stands still, and calls that it had ended without an answer because of that."""
    if not any(process.get("status") == -9 or process.get("state") == "T" for process in _processes(damage)):
        return "neither ended nor stopped a process that had calls in flight"
    stranded = sum(
        call.stranded and call.began_s <= damage.ended_s and (call.ended_s or 0.0) >= damage.began_s
        for call in reading.calls
    )
    return None if stranded else "stranded nobody: every call that the process had was answered"


def _drains(damage: Damage, reading: Reading) -> str | None:
    """A process that had calls in flight ended by itself."""
    if any(process.get("status") == 0 for process in _processes(damage)):
        return None
    return "drained nothing: no process that had calls in flight ended with status 0"


_EFFECTS: dict[str, Callable[[Damage, Reading], str | None]] = {
    Effect.DISTURBS: _disturbs,
    Effect.DELAYS: _delays,
    Effect.RENEWS: _renews,
    Effect.LINGERS: _lingers,
    Effect.RECREATES: _recreates,
    Effect.CHECKS: _checks,
    Effect.STRIKES: _strikes,
    Effect.CANCELS: _cancels,
    Effect.STALLS: _stalls,
    Effect.SETS_UP: _sets_up,
    Effect.STRANDS: _strands,
    Effect.DRAINS: _drains,
}
