"""The cell proved something: every fault acted, on real load, and every kind of turn worked at some time."""

from __future__ import annotations

from harness.checkers.flaws import Flaw, decide
from harness.checkers.hits import hits
from harness.checkers.reading import read
from harness.checkers.vacuity import CONDITIONS, Evidence, unjudged
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Json, Verdict


class Exercised(Checker):
    """INVALID, never FAIL, unless the history is whole (not torn, gate and end reached) and every condition of
    ``vacuity`` holds. Each gap says its code, what was vacuous, and what to do.

    ``details`` also say in which phases each fault met each agent (``hits``), and what could not be judged
    (``unjudged``).
    """

    guarantee = Guarantee.EXERCISED

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        evidence = Evidence(read(history), facts)
        gaps = [gap for condition in CONDITIONS for gap in condition(evidence)]
        windows = len(evidence.reading.damages)
        answered = sum(call.status == "ok" for call in evidence.reading.calls)
        details: dict[str, Json] = {"windows": windows, "hits": hits(evidence)}
        if left := unjudged(evidence):
            details["unjudged"] = list(left)
        return decide(
            self.guarantee,
            [
                Flaw(Verdict.INVALID, str(gap), gap.rows, gap.code.value if gap.code else "", host=gap.host)
                for gap in gaps
            ],
            f"every window ({windows}) was installed, felt and healed; {answered:,} calls answered",
            details,
        )
