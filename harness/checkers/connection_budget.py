"""No group holds more backends than its budget, and none is left at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Reading, Spans, read
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.vacuity import Vacuity
from harness.core.verdict import Checker, Finding, Guarantee, Json, Verdict

#: The sampler looks this often; a row holds until the next, so the sample before a change was still like the row.
SAMPLE_S = 0.1
#: Only what two samples this far apart both show counts: pools overlap for a moment when they connect anew.
STANDS_S = 0.2
#: Sockets that a black hole held end when it heals, and their backends a moment after.
HEAL_GRACE_S = 0.5


class ConnectionBudget(Checker):
    """FAIL if a group's client backends stood above the budget in samples 200 ms apart, or if any is left after tear
    down. Windows that hold connections open by themselves (black holes), and half a second after them, are not
    judged: abandoned sockets stand there until the heal; the peak is reported. INVALID without samples, or if they
    never saw a backend of a group that answered calls: a detector that sees nothing proves nothing.
    """

    guarantee = Guarantee.CONNECTION_BUDGET

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        samples = [sample for sample in reading.samples if sample.backends is not None]
        groups = sorted({group for sample in samples for group in sample.backends or ()} | set(facts.leftover_backends))
        held = Spans((d.began_s, d.ended_s + HEAL_GRACE_S) for d in reading.damages if d.holds_connections)
        flaws: list[Flaw] = []
        peaks: dict[str, int] = {}
        for group in groups:
            peaks[group] = max((len((sample.backends or {}).get(group, ())) for sample in samples), default=0)
            flaws += _over(reading, group, bounds.budget, held)
        flaws += [
            Flaw(Verdict.FAIL, f"{left} backends of group {group} were left after tear down")
            for group, left in sorted(facts.leftover_backends.items())
            if left > 0
        ]
        if not samples:
            words = "no sample of the backends was taken; see the logs: Postgres did not answer the harness"
            flaws.append(Flaw(Verdict.INVALID, f"{Vacuity.V13}: {words}", (), Vacuity.V13.value))
        else:
            flaws += [
                Flaw(Verdict.INVALID, f"{Vacuity.V13}: {_unseen(group)}", (), Vacuity.V13.value)
                for group in sorted({call.group for call in reading.calls if call.status == "ok"})
                if not peaks.get(group)
            ]
        kept = (
            f"at most {max(peaks.values(), default=0)} backends a group (budget {bounds.budget}), none left at the end"
        )
        shown: dict[str, Json] = dict(peaks)
        return decide(self.guarantee, flaws, kept, {"peaks": shown})


def _unseen(group: str) -> str:
    words = f"the samples never saw a backend of group {group}, which answered calls"
    return f"{words}; let the strategy connect with database.conninfo, and keep its application_name"


def _over(reading: Reading, group: str, budget: int, held: Spans) -> Iterator[Flaw]:
    """A flaw for each time that the group stood above the budget, outside what black holes explain."""
    for run in _runs(reading, group, budget):
        since_s, until_s = max(
            held.free(run.since_s, run.until_s), key=lambda span: span[1] - span[0], default=(0.0, 0.0)
        )
        if until_s - since_s >= STANDS_S - 1e-6:
            words = (
                f"group {group} held {run.most} backends for {until_s - since_s:.1f} s or more from {since_s:.2f} s on"
            )
            yield Flaw(Verdict.FAIL, f"{words}; its budget is {budget}", run.rows)


class _Run(NamedTuple):
    """Rows on end that show a group above its budget; samples are known to have shown it until ``until_s``."""

    since_s: float
    until_s: float
    most: int
    rows: tuple[int, int]


def _runs(reading: Reading, group: str, budget: int) -> Iterator[_Run]:
    run: _Run | None = None
    for sample in reading.samples:
        count = len((sample.backends or {}).get(group, ()))
        if run is not None:  # it stood until just before this row
            run = run._replace(until_s=max(run.until_s, sample.time_s - SAMPLE_S))
        if count > budget:
            first = run or _Run(sample.time_s, sample.time_s, 0, (sample.row, sample.row))
            run = _Run(first.since_s, sample.time_s, max(first.most, count), (first.rows[0], sample.row))
        elif run is not None:
            yield run
            run = None
    if run is not None:
        yield run
