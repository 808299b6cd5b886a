"""From judged cells to one frozen summary: the exit status, why, and the one sentence that readers want first.

Everything here is pure: cells in, words and a number out. Every report renders what this module decided, and nothing
else decides anything about a run as a whole.
"""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from harness.core.incident import SYMPTOM
from harness.core.record import CellResult, RunSummary, ScenarioInfo
from harness.core.vacuity import Vacuity
from harness.core.verdict import Json, Verdict
from harness.coverage import coverage, holes
from harness.judge import is_own_bug
from harness.store import RunRecord

#: (scenario, control, guarantee): what a scenario has to show.
MustCatch = tuple[str, str, str]

KEPT, BROKEN, USAGE, UNPROVED, COMPONENT, NOTHING, BUG = 0, 1, 2, 3, 4, 5, 70


def summarize(
    cells: Sequence[CellResult],
    *,
    planned: int,
    scenarios: Sequence[ScenarioInfo],
    started: str,
    wall_s: float,
    interrupted: int | None = None,
    require_all: bool = False,
    command: str = "",
    components: Sequence[Mapping[str, Json]] = (),
    provenance: Mapping[str, Json] | None = None,
    notes: Sequence[str] = (),
    must_catch: Sequence[MustCatch] = (),
    bug: str | None = None,
    broke: str = "",
    whole: bool = False,
) -> RunSummary:
    """Judge the run as a whole.

    ``interrupted`` is the number of the signal that ended it early, ``bug`` the text of an error of our own, ``broke``
    says which component's failure ended it early.
    ``must_catch`` may name controls that were not selected: only cells that are here count. ``whole``: the run was to
    meet everything that its size promises (see ``coverage``).
    """
    judged = tuple(sorted((with_dues(cell, must_catch) for cell in cells), key=lambda cell: cell.id))
    outcome = Outcome.of(
        judged, planned=planned, interrupted=interrupted, require_all=require_all, bug=bug, broke=broke, whole=whole
    )
    return RunSummary(
        exit=outcome.exit,
        exit_reason=outcome.reason,
        decision=decide(judged, outcome),
        started=started,
        wall_s=wall_s,
        planned=planned,
        cells=judged,
        scenarios=tuple(scenarios),
        interrupted=interrupted is not None,
        selection=selection(judged),
        command=command,
        components=tuple(components),
        provenance=dict(provenance or {}),
        notes=tuple(notes),
    )


def summarize_record(record: RunRecord, cells: Sequence[CellResult], *, bug: str | None = None) -> RunSummary:
    """:func:`summarize` of a run's own record, for a run that just ended or one read back from its folder."""
    return summarize(
        cells,
        planned=record.planned,
        scenarios=record.scenarios,
        started=record.started,
        wall_s=record.wall_s,
        interrupted=record.interrupted,
        require_all=record.require_all,
        command=record.command,
        components=record.components,
        provenance=record.provenance,
        notes=record.notes,
        must_catch=record.must_catch,
        bug=bug,
        broke=record.broke,
        whole=record.whole,
    )


def with_dues(cell: CellResult, must_catch: Sequence[MustCatch]) -> CellResult:
    """The cell, its ``expected`` and ``caught`` completed by what the scenario must catch with this control."""
    due = {g for scenario, control, g in must_catch if (scenario, control) == (cell.scenario, cell.strategy)}
    due |= set(cell.expected)
    if not due:
        return cell
    failed = {finding.guarantee.value for finding in cell.findings if finding.verdict is Verdict.FAIL}
    return dataclasses.replace(
        cell, role="control", expected=tuple(sorted(due)), caught=tuple(sorted(due & (failed | set(cell.caught))))
    )


def selection(cells: Sequence[CellResult]) -> str:
    """``mixed``, ``controls`` or ``candidates``; an empty selection is mixed."""
    roles = {cell.role for cell in cells}
    if roles == {"control"}:
        return "controls"
    return "candidates" if roles == {"candidate"} else "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One planted mistake and what became of it. ``expected`` must be broken in each of ``cells`` and was in ``caught``
    of them; ``codes`` are the anomaly codes seen then; ``cell`` is one of them, a missed one if there is any.
    """

    strategy: str
    mistake: str
    scenario: str
    expected: tuple[str, ...]
    codes: tuple[str, ...]
    cells: int
    caught: int
    cell: CellResult


def trials(cells: Sequence[CellResult]) -> tuple[Trial, ...]:
    """How the judge itself was tested in this run: every planted mistake, by scenario and name."""
    keys = sorted({(cell.scenario, cell.strategy) for cell in cells if cell.planted})
    return tuple(_trial([c for c in cells if c.planted and (c.scenario, c.strategy) == key]) for key in keys)


def _trial(cells: Sequence[CellResult]) -> Trial:
    first = min(cells, key=lambda cell: (cell.as_it_should_be, cell.id))
    expected = {guarantee for cell in cells for guarantee in cell.expected}
    codes = {code for cell in cells for found in cell.findings if found.guarantee in expected for code in found.codes}
    return Trial(
        strategy=first.strategy,
        mistake=first.mistake,
        scenario=first.scenario,
        expected=tuple(sorted(expected)),
        codes=tuple(sorted(codes)),
        cells=len(cells),
        caught=sum(cell.as_it_should_be for cell in cells),
        cell=first,
    )


def tested(cells: Sequence[CellResult]) -> str:
    """``11 of 11 planted mistakes caught``; empty if none was planted."""
    found = trials(cells)
    caught = sum(trial.caught == trial.cells for trial in found)
    return f"{caught} of {_count(len(found), 'planted mistake')} caught" if found else ""


# -- the exit status ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit status and its reason; ``found`` lists everything that was found, worst first, as (status, words)."""

    exit: int
    reason: str
    found: tuple[tuple[int, str], ...]
    planned: int

    @classmethod
    def of(
        cls,
        cells: Sequence[CellResult],
        *,
        planned: int,
        interrupted: int | None = None,
        require_all: bool = False,
        bug: str | None = None,
        broke: str = "",
        whole: bool = False,
    ) -> Outcome:
        """Several at once: our own bug, then the interruption, then components, broken guarantees, nothing proved.

        An interruption stands before everything that the cells show, because the cells that are missing could show
        worse; the reason still names what was found.
        """
        found = [
            *_own_bug(cells, planned, bug, ended_early=interrupted is not None or bool(broke)),
            *_interruption(cells, planned, interrupted),
            *_broke(cells, planned, broke),
            *_components(cells, require_all),
            *_broken(cells),
            *_unproved(cells),
            *(_unmet(cells) if whole and len(cells) >= planned else []),
        ]
        if not found and not cells:
            found = [(NOTHING, "nothing was selected")]
        if not found:
            return cls(KEPT, _kept(cells), (), planned)
        return cls(found[0][0], "; also: ".join(words for _, words in found), tuple(found), planned)


def _own_bug(cells: Sequence[CellResult], planned: int, bug: str | None, *, ended_early: bool) -> list[tuple[int, str]]:
    missing = planned - len(cells)
    if bug is not None:
        return [(BUG, f"Poolproof itself failed: {bug}")]
    if missing > 0 and not ended_early:
        return [(BUG, f"Poolproof itself failed: {_count(missing, 'planned cell')} left no result")]
    failed = [cell for cell in cells if is_own_bug(cell)]
    if failed:
        return [(BUG, f"Poolproof itself failed in {_count(len(failed), 'cell')} ({failed[0].reason.rstrip('.')})")]
    return []


def _interruption(cells: Sequence[CellResult], planned: int, interrupted: int | None) -> list[tuple[int, str]]:
    if interrupted is None:
        return []
    try:
        name = signal.Signals(interrupted).name
    except ValueError:
        name = f"signal {interrupted}"
    return [(128 + interrupted, f"interrupted by {name} after {len(cells)} of {_count(planned, 'cell')}")]


def _broke(cells: Sequence[CellResult], planned: int, broke: str) -> list[tuple[int, str]]:
    if not broke:
        return []
    return [(COMPONENT, f"ended early after {len(cells)} of {_count(planned, 'cell')}: {broke.rstrip('.')}")]


def _components(cells: Sequence[CellResult], require_all: bool) -> list[tuple[int, str]]:
    errors = [cell for cell in cells if cell.verdict is Verdict.ERROR and not is_own_bug(cell)]
    skips = sum(cell.verdict is Verdict.SKIP for cell in cells)
    found = []
    if errors:
        why = errors[0].reason.rstrip(".") or "no reason was recorded"
        found.append((COMPONENT, f"{_count(len(errors), 'cell')} ended in ERROR ({why})"))
    if skips and require_all:
        found.append((COMPONENT, f"{_count(skips, 'cell')} skipped for want of a component, and all are required"))
    return found


def _broken(cells: Sequence[CellResult]) -> list[tuple[int, str]]:
    """FAIL or SLOW: of candidates in a run that has some; in a run of controls alone theirs, if all were caught."""
    alone = selection(cells) == "controls"
    if alone and _missed(cells):
        return []
    shown = [c for c in cells if c.role != "control" or (alone and not c.planted)]
    bad = [c for c in shown if c.verdict in (Verdict.FAIL, Verdict.SLOW)]
    if not bad:
        return []
    names = sorted({cell.strategy for cell in bad})
    who = "the controls broke" if alone else "candidates broke"
    return [(BROKEN, f"{who} a guarantee in {_count(len(bad), 'cell')} ({', '.join(names)})")]


def _unproved(cells: Sequence[CellResult]) -> list[tuple[int, str]]:
    found = []
    missed = _missed(cells)
    if missed:
        count = _count(len(missed), "control cell")
        found.append((UNPROVED, f"{count} not caught, so this run proves nothing ({missed[0]}; {Vacuity.V12})"))
    candidates = [cell for cell in cells if cell.role != "control"]
    invalid = sum(cell.verdict is Verdict.INVALID for cell in candidates)
    if invalid:
        found.append((UNPROVED, f"{_count(invalid, 'cell')} proved nothing (INVALID)"))
    if candidates and all(cell.verdict is Verdict.SKIP for cell in candidates):
        found.append((UNPROVED, f"all {_count(len(candidates), 'cell')} of candidates skipped"))
    only_trials = all(cell.planted for cell in cells)
    if selection(cells) == "controls" and not only_trials and not missed and not _broken(cells):
        found.append((UNPROVED, "controls alone, and none of them broke anything"))
    return found


def _unmet(cells: Sequence[CellResult]) -> list[tuple[int, str]]:
    """What the size of the run promises to meet, and no cell met."""
    found = holes(coverage(cells))
    if not found:
        return []
    return [(UNPROVED, f"the run left {_count(len(found), 'hole')} in what it promises to meet ({_short(found)})")]


def _missed(cells: Sequence[CellResult]) -> list[str]:
    """What had to be caught and was not, one text a cell.

    A scenario that a missing component leaves without any judged candidate claims nothing, so nothing need be caught
    there, as long as something was caught elsewhere.
    """
    claimed = {cell.scenario for cell in cells if cell.role != "control" and cell.verdict is not Verdict.SKIP}
    tested_elsewhere = any(cell.expected and cell.as_it_should_be for cell in cells)
    return [
        f"{cell.strategy} in {cell.scenario}: {', '.join(sorted(set(cell.expected) - set(cell.caught)))}"
        for cell in cells
        if set(cell.expected) - set(cell.caught)
        and not (cell.verdict is Verdict.SKIP and tested_elsewhere and cell.scenario not in claimed)
    ]


def _kept(cells: Sequence[CellResult]) -> str:
    candidates = [cell for cell in cells if cell.role != "control"]
    if not candidates:
        return f"the judge was tested: {tested(cells)}"
    passed = sum(cell.verdict is Verdict.PASS for cell in candidates)
    skipped = len(candidates) - passed
    text = f"every guarantee kept in {_count(passed, 'cell')}"
    return f"{text}, {skipped} skipped" if skipped else text


# -- the decision -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one candidate did over all its cells. Counts are sums; times are the worst of any cell, None if unknown."""

    strategy: str
    cells: int
    scenarios: tuple[str, ...]
    kept: bool
    broke: tuple[str, ...]  # "guarantee in scenario", once each
    undecided: int  # cells that are ERROR, INVALID or SKIP
    calls: int
    unanswered: int  # refused, in doubt or failed
    recovery_s: float | None


def standings(cells: Sequence[CellResult]) -> tuple[Standing, ...]:
    """The candidates, best first: all kept, then most cells, fewest unanswered calls, soonest back, name."""
    names = {cell.strategy for cell in cells if cell.role != "control"}
    found = [_standing(name, [cell for cell in cells if cell.strategy == name]) for name in names]
    return tuple(sorted(found, key=_order))


def _order(standing: Standing) -> tuple[bool, bool, int, int, float, str]:
    late = float("inf") if standing.recovery_s is None else standing.recovery_s
    return (not standing.kept, bool(standing.broke), -standing.cells, standing.unanswered, late, standing.strategy)


def _standing(name: str, cells: Sequence[CellResult]) -> Standing:
    bad = (Verdict.FAIL, Verdict.SLOW)
    broke = {
        f"{finding.guarantee.value} in {cell.scenario}"
        for cell in cells
        if cell.verdict in bad
        for finding in cell.findings
        if finding.verdict in bad
    } | {cell.scenario for cell in cells if cell.verdict in bad and not any(f.verdict in bad for f in cell.findings)}
    times = [number(cell, "recovery_s") for cell in cells]
    return Standing(
        strategy=name,
        cells=len(cells),
        scenarios=tuple(sorted({cell.scenario for cell in cells})),
        kept=all(cell.verdict is Verdict.PASS for cell in cells),
        broke=tuple(sorted(broke)),
        undecided=sum(cell.verdict in (Verdict.ERROR, Verdict.INVALID, Verdict.SKIP) for cell in cells),
        calls=int(total(cells, "calls")),
        unanswered=int(sum(total(cells, key) for key in ("refused", "in_doubt", "failed"))),
        recovery_s=max((t for t in times if t is not None), default=None),
    )


def decide(cells: Sequence[CellResult], outcome: Outcome) -> str:
    """The sentence that every report shows first: what to ship, what not, and whether the run proves anything."""
    warnings = [words for status, words in outcome.found if status >= BUG]
    missed = _missed(cells)
    if not cells:
        return _sentences([*warnings, "Nothing ran, so nothing is decided."])
    if missed:
        return _sentences([*warnings, f"This run proves nothing: not caught: {_short(missed)}", *_undecided(cells)])
    ranked = standings(cells)
    if not ranked:
        return _sentences([*warnings, *_controls_alone(cells)])
    decided = outcome.exit != BUG and len(cells) >= outcome.planned
    return _sentences([*warnings, *_ship(ranked, decided), *_worse(ranked), *_controls(cells)])


def _ship(ranked: Sequence[Standing], decided: bool) -> list[str]:
    best = ranked[0]
    if not best.kept:
        return ["Ship none of these: no candidate kept every guarantee"]
    bound = f" (at most {_bound(best.calls)} at 95 %)" if best.calls >= 3 else ""
    back = "" if not best.recovery_s else f", back within {_ceil_tenth(best.recovery_s):.1f} s"
    seen = f"0 PoolClosed in {_count(best.calls, 'call')}"
    rest = f"{bound}, every acknowledged turn kept{back}"
    if len(best.scenarios) == 1:  # one scenario is no ground for shipping anything
        only = f"in {best.scenarios[0]}, the only scenario"
        return [f"`{best.strategy}` kept every guarantee {only}: {seen}{rest}"]
    verb = "Ship" if decided else "So far the best is"
    return [f"{verb} `{best.strategy}`: {seen} across {len(best.scenarios)} scenarios{rest}"]


def _worse(ranked: Sequence[Standing]) -> list[str]:
    others = ranked[1:] if ranked[0].kept else ranked
    kept = [f"`{s.strategy}`" for s in others if s.kept]
    broke = [f"`{s.strategy}` ({_short(s.broke, 2)})" for s in others if s.broke]
    open_ = [f"`{s.strategy}` ({_count(s.undecided, 'cell')})" for s in others if not s.kept and not s.broke]
    return [
        *([f"Kept every guarantee too: {', '.join(kept)}"] if kept else []),
        *([f"Do not ship {', '.join(broke)}"] if broke else []),
        *([f"Undecided: {', '.join(open_)}"] if open_ else []),
    ]


def _undecided(cells: Sequence[CellResult]) -> list[str]:
    broke = [f"`{s.strategy}` ({_short(s.broke, 2)})" for s in standings(cells) if s.broke]
    return [f"What was broken stands all the same: {', '.join(broke)}"] if broke else []


def _controls(cells: Sequence[CellResult]) -> list[str]:
    controls = [cell for cell in cells if cell.expected and not cell.planted]
    skipped = sum(cell.verdict is Verdict.SKIP for cell in controls)
    judge = [f"The judge was tested: {tested(cells)}"] if tested(cells) else []
    judge = [*_incidents(cells), *judge]
    if len(controls) > skipped:
        but = f"; {skipped} skipped with their scenarios" if skipped else ""
        caught = f"({_count(len(controls) - skipped, 'cell')}{but})"
        return [f"The controls were caught wherever they had to be {caught}", *judge]
    return judge or ["No control had to be caught in this selection, so nothing shows that it could have found a fault"]


def _incidents(cells: Sequence[CellResult]) -> list[str]:
    """How many reports showed again what their users saw; a scenario is one of them if its red arm is here."""
    red = [cell for cell in cells if SYMPTOM in cell.expected]
    scenarios = {cell.scenario for cell in red}
    missed = {cell.scenario for cell in red if SYMPTOM not in cell.caught}
    if not scenarios:
        return []
    return [f"{len(scenarios - missed)} of {_count(len(scenarios), 'reported incident')} showed the symptom again"]


def _controls_alone(cells: Sequence[CellResult]) -> list[str]:
    judge = [f"The judge was tested: {tested(cells)}"] if tested(cells) else []
    cells = [cell for cell in cells if not cell.planted]
    broken = [cell for cell in cells if cell.verdict in (Verdict.FAIL, Verdict.SLOW)]
    if judge and not cells:
        return judge
    if not broken:
        return ["Controls alone, and none of them broke anything: this run proves nothing"]
    names = ", ".join(f"`{name}`" for name in sorted({cell.strategy for cell in broken}))
    broke = f"{names} broke a guarantee in {len(broken)} of {_count(len(cells), 'cell')}"
    return [f"Controls alone, and caught: {broke}", *judge]


# -- numbers and words --------------------------------------------------------------------------------------------


def number(cell: CellResult, key: str) -> float | None:
    """A measure as a number; None when the cell has none of that name, or it is no finite number."""
    value = cell.measures.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def total(cells: Sequence[CellResult], key: str) -> float:
    """The sum of a measure over cells; cells without it count as 0."""
    return sum(number(cell, key) or 0.0 for cell in cells)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _bound(calls: int) -> str:
    """Zero in N calls bounds the rate at 3/N with 95 % confidence (the rule of three); two digits, rounded up."""
    percent = Decimal(300) / calls
    rounded = percent.quantize(Decimal(1).scaleb(percent.adjusted() - 1), rounding=ROUND_CEILING)
    return f"{rounded.normalize():f} %"


def _ceil_tenth(seconds: float) -> float:
    return -(-round(seconds, 6) * 10 // 1) / 10


def _short(items: Sequence[str], most: int = 3) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more


def _sentences(parts: Sequence[str]) -> str:
    return " ".join(f"{part[:1].upper()}{part[1:]}".rstrip(".") + "." for part in parts if part)
