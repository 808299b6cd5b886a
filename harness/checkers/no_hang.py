"""Every call ends by its deadline."""

from __future__ import annotations

from collections import defaultdict

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Call, Reading, number, read
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict


class NoHang(Checker):
    """SLOW for a call that ended more than ``hang_slow_s`` after its deadline, FAIL if it was more than
    ``hang_fail_s``, if the harness had to end it, or if the history went on for that long and it never ended.

    Time for which the whole process stood still is nobody's hang: if taking it off changes the verdict of a call, that
    call decides nothing (INVALID). The watchdog's ``overdue`` rows are evidence.
    """

    guarantee = Guarantee.NO_HANG

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        told: defaultdict[int | None, list[int]] = defaultdict(list)
        for op in reading.points("overdue"):
            told[int(number(op.value, "call", -1.0))].append(op.index)
        flaws: list[Flaw] = []
        longest_s = 0.0
        for call in reading.calls:
            over_s = _over_s(call, reading, bounds)
            if over_s > longest_s:
                longest_s = over_s
            if over_s > bounds.hang_slow_s or _hung(call):
                flaws.append(_flaw(call, over_s, reading, bounds, told.get(call.invoke.call, [])))
        if not reading.calls:
            flaws.append(Flaw(Verdict.INVALID, "nobody called, so nothing could hang"))
        kept = f"all {len(reading.calls):,} calls ended by their deadline + {bounds.hang_slow_s:g} s"
        return decide(self.guarantee, flaws, kept, {"longest_over_s": round(longest_s, 3)})


def _over_s(call: Call, reading: Reading, bounds: Bounds) -> float:
    """By how much the call missed its deadline; 0 if it did not."""
    ended_s = reading.end_s if call.ended_s is None else call.ended_s
    over_s = ended_s - call.began_s - call.deadline_s(bounds.deadline_s)
    return over_s if over_s > 0.0 else 0.0


def _hung(call: Call) -> bool:
    return call.end is not None and call.end.value.get("hung") is True


def _flaw(call: Call, over_s: float, reading: Reading, bounds: Bounds, told: list[int]) -> Flaw:
    def verdict(over_s: float) -> Verdict:
        if over_s > bounds.hang_slow_s:
            return Verdict.FAIL if over_s > bounds.hang_fail_s else Verdict.SLOW
        return Verdict.PASS

    found = Verdict.FAIL if _hung(call) else verdict(over_s)
    stood_s = reading.host_stalls.covered_s(call.began_s, call.began_s + over_s + call.deadline_s(bounds.deadline_s))
    # A hung call ends when the harness ends it, close to the limit: a short stall does not make that doubtful.
    doubtful = stood_s > bounds.hang_slow_s if _hung(call) else verdict(over_s - stood_s) is not found
    if stood_s and doubtful:
        words = f"{call} ended {over_s:.1f} s after its deadline, and the machine stood still for {stood_s:.1f} s of it"
        return Flaw(Verdict.INVALID, words, (*call.rows, *told), host=True)
    if _hung(call):
        words = f"hung: {call} had to be ended by the harness {over_s:.1f} s after its deadline"
    elif call.ended_s is None:
        words = f"hung: {call} had not ended {over_s:.1f} s after its deadline, when the history ends"
    else:
        words = f"{call} {call.outcome} {over_s:.1f} s after its deadline"
    return Flaw(found, words, (*call.rows, *told))
