"""Every call is answered while the database can be used."""

from __future__ import annotations

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Spans, of_time, read
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.scenario import SLOW_FACTOR, Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict


class Available(Checker):
    """FAIL for a call that was not answered (refused, in doubt, failed) although it touched no window that makes the
    database unusable, nor the recovery bound after one. Damage that leaves the database usable excuses nothing, but
    the calls of a replica whose process it ended or stopped: that one has the same bound, and the others have none.

    A call that touches none of those, but ends within three recovery bounds after such a window, is SLOW: how late
    recovery may come is for ``recovers`` to judge, by the same factor. Where the whole process stood still
    during a call, a timeout or a refusal decides nothing: INVALID.
    """

    guarantee = Guarantee.AVAILABLE

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        excused = reading.damaged(bounds.recover_s, usable=False)
        late = reading.damaged(bounds.recover_s * SLOW_FACTOR, usable=False)
        away = reading.taken_away(bounds.recover_s)
        away_late = reading.taken_away(bounds.recover_s * SLOW_FACTOR)
        never = Spans(())
        flaws: list[Flaw] = []
        judged = 0
        for call in reading.calls:
            end_s = reading.end_s if call.ended_s is None else call.ended_s
            span = (call.began_s, end_s)
            if not reading.unanswered(call, bounds.deadline_s):
                judged += call.status == "ok"
                continue
            if excused.overlaps(*span) or away.get(call.group, never).overlaps(*span):
                continue
            judged += 1
            near = late.overlaps(*span) or away_late.get(call.group, never).overlaps(*span)
            verdict = Verdict.SLOW if near else Verdict.FAIL
            words = f"not answered while the database was usable: {call} {call.outcome}"
            if reading.host_stalls.overlaps(*span) and (verdict is Verdict.SLOW or of_time(call)):
                verdict, words = Verdict.INVALID, f"the machine stood still while {call} {call.outcome}"
            flaws.append(Flaw(verdict, words, call.rows, host=verdict is Verdict.INVALID))
        if not judged:
            flaws.append(Flaw(Verdict.INVALID, "no call was made while the database was usable"))
        return decide(self.guarantee, flaws, f"all {judged:,} calls that had to be answered were answered")
