"""The cell proved something: every fault acted, on real load, and every kind of turn worked at some time."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checkers.effects import unseen
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Reading, read
from harness.core.facts import Facts
from harness.core.history import CALLS, History, Op, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict

#: A re-creation is judged so long after it ended, at most; earlier if driving ends, but not before the grace is over.
RENEWED_WITHIN_S = 5.0
RENEWED_GRACE_S = 3.0


class Exercised(Checker):
    """INVALID, never FAIL, unless the history is whole (not torn, gate and end reached), each kind of turn and each
    agent succeeded at some time, every window was installed, healed, met enough calls in flight and had its effect
    seen, and no ordered re-creation left every backend from before in its place.
    """

    guarantee = Guarantee.EXERCISED

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        gaps = [*_whole(reading), *_kinds(reading), *_windows(reading), *_renewed(reading)]
        flaws = [Flaw(Verdict.INVALID, words, rows) for words, rows in gaps]
        windows = len(reading.damages)
        answered = sum(call.status == "ok" for call in reading.calls)
        return decide(
            self.guarantee,
            flaws,
            f"every window ({windows}) was installed, felt and healed; {answered:,} calls answered",
            {"windows": windows},
        )


_Gap = tuple[str, tuple[int, ...]]


def _whole(reading: Reading) -> Iterator[_Gap]:
    if reading.torn:
        yield "the history ends in the middle of a row: its writer died", ()
    for phase, words in (
        ("gate", "load never began"),
        ("drive", "the gate never ended"),
        ("end", "the cell never ended"),
    ):
        if phase not in reading.phases:
            yield f"{words}: there is no phase {phase!r} in the history", ()


def _kinds(reading: Reading) -> Iterator[_Gap]:
    gate = reading.points("gate")
    kinds = gate[-1].value.get("kinds") if gate else None
    agents = gate[-1].value.get("agents") if gate else None
    if not isinstance(kinds, dict) or not kinds:
        yield "the gate names no kind of call that it tried", ()
        return
    tried = {kind for kind in kinds if kind in CALLS} | {call.kind for call in reading.calls}
    answered = [call for call in reading.calls if call.status == "ok"]
    for kind in sorted(tried - {call.kind for call in answered}):
        yield f"no {kind} ever succeeded: each kind of call must, at some time, to prove anything", (gate[-1].index,)
    names = set(agents) if isinstance(agents, dict) else set[str]()
    for name in sorted(names - {f"{call.group}/{call.agent}" for call in answered}):
        yield f"{name} never answered, so it was not tested", (gate[-1].index,)


def _windows(reading: Reading) -> Iterator[_Gap]:
    for damage in reading.damages:
        rows = (damage.row,)
        if not damage.installed:
            yield f"{damage} was never installed", rows
            continue
        if not damage.healed:
            yield f"{damage} was never healed", rows
        if damage.in_flight < damage.needs_in_flight:
            had, due = f"{damage.in_flight:.0f} calls in flight", f"{damage.needs_in_flight:.0f} are due"
            yield f"{damage} began with {had}, {due}: raise the load", rows
        reason = unseen(damage, reading)
        if reason is not None:
            yield f"{damage} {reason}", rows


def _renewed(reading: Reading) -> Iterator[_Gap]:
    """Ordered re-creations after which every backend from before still stood: they renewed nothing.

    Where a pooler stands before Postgres (``behind_pooler``) the backends are the pooler's and say nothing.
    """
    for op, end in reading.pairs("recreate"):
        if op.value.get("ordered") is not True or end is None or end.type is not OpType.OK:
            continue
        if op.value.get("behind_pooler") is not True and _kept_all(reading, op, end):
            yield (
                f"the re-creation of group {op.process} at {op.time_s:.2f} s renewed nothing: all its backends stayed",
                (
                    op.index,
                    end.index,
                ),
            )


def _kept_all(reading: Reading, op: Op, end: Op) -> bool:
    judged_s = min(end.time_s + RENEWED_WITHIN_S, reading.driving_end_s)
    if judged_s < end.time_s + RENEWED_GRACE_S:
        return False
    before, after = reading.sample_at(op.time_s), reading.sample_at(judged_s)
    if before is None or after is None:
        return False
    old = (before.backends or {}).get(op.process, frozenset())
    return bool(old) and old <= (after.backends or {}).get(op.process, frozenset())
