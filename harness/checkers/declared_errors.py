"""Callers meet only the errors that the strategy declares, and only around damage."""

from __future__ import annotations

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import of_time, read
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.scenario import SLOW_FACTOR, Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict


class DeclaredErrors(Checker):
    """FAIL for an exception at a caller whose class is not among the strategy's ``errors``, wherever it happens, and
    for a declared one in a call that touches no window nor the recovery bound after one; SLOW if that call ends
    within three bounds. INVALID if it is a timeout while the whole process stood still. Calls that the harness itself
    had to end are for ``no_hang`` to judge; where the client went nobody met anything, and the TimeoutError of a
    service that gave a call less time is its own.
    """

    guarantee = Guarantee.DECLARED_ERRORS

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        excused = reading.damaged(bounds.recover_s, usable=True)
        late = reading.damaged(bounds.recover_s * SLOW_FACTOR, usable=True)
        flaws: list[Flaw] = []
        errors = 0
        for call in reading.calls:
            if call.end is None or call.end.error is None or call.end.value.get("hung") is True:
                continue
            if call.cut and (call.end.value.get("by") != "timeout" or call.end.error.type == "TimeoutError"):
                continue
            errors += 1
            span = (call.began_s, call.end.time_s)
            if not call.end.error.declared:
                words = f"a caller met an undeclared error: {call} {call.outcome}"
                flaws.append(Flaw(Verdict.FAIL, words, call.rows))
            elif not excused.overlaps(*span):
                verdict = Verdict.SLOW if late.overlaps(*span) else Verdict.FAIL
                words = f"a caller met an error outside every window and its recovery bound: {call} {call.outcome}"
                if reading.host_stalls.overlaps(*span) and of_time(call):
                    verdict, words = Verdict.INVALID, f"the machine stood still while {call} {call.outcome}"
                flaws.append(Flaw(verdict, words, call.rows, host=verdict is Verdict.INVALID))
        if not reading.calls:
            flaws.append(Flaw(Verdict.INVALID, "nobody called, so nobody could meet an error"))
        kept = f"{errors:,} errors at callers in {len(reading.calls):,} calls, all declared and around damage"
        return decide(self.guarantee, flaws, kept)
