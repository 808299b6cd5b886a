"""From a cell's records to its verdict: every checker is asked, the findings are merged, the numbers are added.

Everything here is pure and needs only what lies in the cell's folder, so old cells can be judged again.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from harness.checkers import ALL
from harness.checkers.measures import measure
from harness.checkers.reading import read, text
from harness.checkers.symptom import is_shown, sightings
from harness.checkers.timeline import timeline
from harness.core.cell import CellSpec
from harness.core.facts import Facts
from harness.core.history import History, Op
from harness.core.incident import SYMPTOM, Incident
from harness.core.record import CellResult, Timeline
from harness.core.scenario import Bounds
from harness.core.shape import build
from harness.core.verdict import Checker, Finding, Guarantee, Json, Verdict

#: When a component died or our own code raised, callers may have gone without answers because of that: these decide
#: nothing then. What was leaked, lost, doubled or left hanging stands all the same.
_NEED_A_SOUND_STAGE = frozenset({Guarantee.AVAILABLE, Guarantee.RECOVERS, Guarantee.DECLARED_ERRORS})
_STAGE_FAILED = ("bug", "component", "heal")
#: How every reason begins that is nobody's fault but Poolproof's; see :func:`is_own_bug`.
OWN_BUG = "our own bug"
#: What Postgres's clients see when its disk is full, and the fault that does it on purpose.
_DISK_FULL, _FILLS_THE_DISK = "DiskFull", "disk_full"
#: What a leaked, lost or doubled turn is called in the measures -> (guarantee, key of its details).
_COUNTS = {
    "pool_closed": (Guarantee.NO_POOL_CLOSED, "leaks"),
    "lost_turns": (Guarantee.NO_LOST_TURN, "lost"),
    "duplicate_turns": (Guarantee.NO_DUPLICATE_TURN, "doubled"),
}


def judge(
    spec: CellSpec,
    *,
    role: str,
    breaks: frozenset[Guarantee],
    expected: Sequence[Guarantee],
    bounds: Bounds,
    history: History,
    facts: Facts,
    wall_s: float = 0.0,
    scheduled_s: float = 0.0,
    folder: str = "",
    checkers: Sequence[Checker] = ALL,
) -> CellResult:
    """Judge one cell.

    ``role`` is control or candidate; ``breaks`` what a control says it breaks, ``expected`` what it must be caught
    breaking here. ``wall_s`` and ``scheduled_s`` are seconds that the cell took and should take; ``folder`` is
    relative to the run's. A broken guarantee makes the cell FAIL whatever else happened; then come ERROR (a component
    or our own code failed), INVALID, SLOW, PASS.
    """
    with _collector_paused():
        return _judged(
            spec,
            role=role,
            known=frozenset(breaks) | set(expected) if role == "control" else None,
            expected=expected,
            bounds=bounds,
            history=history,
            facts=facts,
            wall_s=wall_s,
            scheduled_s=scheduled_s,
            folder=folder,
            checkers=checkers,
        )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Judging makes many small objects and no cycles: the collector would walk the whole history again and again, for
    a third of the time.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _judged(
    spec: CellSpec,
    *,
    role: str,
    known: frozenset[Guarantee] | None,
    expected: Sequence[Guarantee],
    bounds: Bounds,
    history: History,
    facts: Facts,
    wall_s: float,
    scheduled_s: float,
    folder: str,
    checkers: Sequence[Checker],
) -> CellResult:
    reading = read(history)
    errors = reading.points("harness_error")
    stage = [op for op in errors if text(op.value, "kind") in _STAGE_FAILED]
    stage += _full_disk(history, [damage.kind for damage in reading.damages])
    broken = [op for op in errors if text(op.value, "kind") == "strategy"]
    findings = [_ask(checker, history, facts, bounds) for checker in checkers]
    findings = [_on_a_sound_stage(finding, stage) for finding in findings]
    findings = [_strategy_broken(finding, broken, opened="gate" in reading.phases) for finding in findings]
    troubles = [_stage_words(op) for op in stage]
    troubles += [f"the leak check found what a fault left behind: {what}" for what in facts.leftovers]
    verdict = Verdict.worst([*(finding.verdict for finding in findings), *([Verdict.ERROR] if troubles else [])])
    failed = {finding.guarantee for finding in findings if finding.verdict is Verdict.FAIL}
    return CellResult(
        id=spec.id,
        scenario=spec.scenario,
        strategy=spec.strategy,
        agents=spec.agents,
        durability=spec.durability,
        seed=spec.seed,
        role=role,
        verdict=verdict,
        findings=tuple(findings),
        measures={**_counts(findings), **measure(history, facts, bounds)} if len(history) else {},
        reason=_reason(verdict, findings, troubles, known),
        plan=tuple(spec.plan or ()),
        expected=tuple(sorted(guarantee.value for guarantee in expected)),
        caught=tuple(sorted(guarantee.value for guarantee in set(expected) & failed)),
        timeline=timeline(history) if len(history) else None,
        folder=folder,
        wall_s=wall_s,
        scheduled_s=scheduled_s,
    )


def _ask(checker: Checker, history: History, facts: Facts, bounds: Bounds) -> Finding:
    """The checker's finding; ERROR with the exception's text if it raised, which is our own bug and never a PASS."""
    try:
        return checker.check(history, facts, bounds)
    except MemoryError:
        raise  # the history is too big to be judged here: no bug
    except Exception as error:  # noqa: BLE001 - a checker that raises must not take the other findings with it
        words = f"{OWN_BUG}: the checker of {checker.guarantee.value} raised {type(error).__name__}: {error}"
        return Finding(guarantee=checker.guarantee, verdict=Verdict.ERROR, summary=words)


def _on_a_sound_stage(finding: Finding, stage: Sequence[Op]) -> Finding:
    if not stage or finding.guarantee not in _NEED_A_SOUND_STAGE or finding.verdict not in (Verdict.FAIL, Verdict.SLOW):
        return finding
    words = f"undecided, because {_stage_words(stage[0])}; seen: {finding.summary}"
    return dataclasses.replace(finding, verdict=Verdict.INVALID, summary=words)


def _strategy_broken(finding: Finding, broken: Sequence[Op], *, opened: bool) -> Finding:
    """A strategy that raised, gave no saver or hung as a whole served nobody."""
    if not broken or finding.guarantee is not Guarantee.AVAILABLE:
        return finding
    words = f"{'the strategy broke down' if opened else 'the strategy never opened'}: {text(broken[0].value, 'text')}"
    evidence = tuple(sorted({*finding.evidence, *(op.index for op in broken)}))
    return dataclasses.replace(finding, verdict=Verdict.FAIL, summary=words, evidence=evidence)


def _full_disk(history: History, planned: Sequence[str]) -> list[Op]:
    """The row that the harness would have written, had it known: Postgres told a client that its disk is full.

    Nobody's disk is full by a strategy's doing: unless the plan filled it, the machine did.
    """
    if _FILLS_THE_DISK in planned:
        return []
    for op in history:
        if op.error is not None and _DISK_FULL in {op.error.type, *(name for _, name, _ in op.error.links)}:
            value: dict[str, Json] = {"kind": "component", "text": f"Postgres's disk is full: {op.error.message}"}
            return [dataclasses.replace(op, f="harness_error", value=value)]
    return []


def _stage_words(op: Op) -> str:
    kind = {"component": "a component failed", "heal": "a fault would not heal"}.get(text(op.value, "kind"), OWN_BUG)
    return f"{kind}: {text(op.value, 'text')}"


def _counts(findings: Sequence[Finding]) -> dict[str, Json]:
    details = {finding.guarantee: finding.details for finding in findings}
    return {name: details[g][key] for name, (g, key) in _COUNTS.items() if g in details and key in details[g]}


def _reason(
    verdict: Verdict, findings: Sequence[Finding], troubles: Sequence[str], known: frozenset[Guarantee] | None
) -> str:
    """One sentence that a stranger can act on. ``known``: what a control is known to break."""
    if verdict is Verdict.PASS:
        return f"all {len(findings)} guarantees kept"
    if verdict is Verdict.ERROR and troubles:
        return troubles[0]
    worst = [finding for finding in findings if finding.verdict is verdict]
    if not worst:
        return "no checker was asked, so nothing was decided"
    # What makes a run vacuous explains every other INVALID.
    worst.sort(key=lambda finding: finding.guarantee is not Guarantee.EXERCISED)
    sentence = f"{worst[0].guarantee.value}: {worst[0].summary}"
    if len(worst) > 1:
        sentence += f"; also {', '.join(finding.guarantee.value for finding in worst[1:])}"
    if verdict is Verdict.FAIL and known is not None:
        beyond = [finding.guarantee.value for finding in worst if finding.guarantee not in known]
        if beyond:
            sentence += f"; not among what this control says it breaks: {', '.join(beyond)}"
    return sentence


def with_symptom(result: CellResult, history: History, incident: Incident) -> CellResult:
    """The result with what was seen of the incident's symptom; its red arm must show it."""
    if not incident.symptom:
        return result
    found = sightings(history, incident)
    result = dataclasses.replace(result, measures={**result.measures, **found.measures()})
    if result.strategy != incident.red:
        return result
    seen = (SYMPTOM,) if is_shown(found, incident, result.measures) else ()
    return dataclasses.replace(
        result,
        role="control",
        expected=tuple(sorted({*result.expected, SYMPTOM})),
        caught=tuple(sorted({*result.caught, *seen})),
    )


def is_own_bug(result: CellResult) -> bool:
    """True if the cell is ERROR because our own code raised, and not because a component failed."""
    words = (result.reason, *(finding.summary for finding in result.findings if finding.verdict is Verdict.ERROR))
    return result.verdict is Verdict.ERROR and any(text.startswith(OWN_BUG) for text in words)


# -- verdict.json -------------------------------------------------------------------------------------------------


def result_to_json(result: CellResult) -> dict[str, Json]:
    """``verdict.json``."""
    row: dict[str, Json] = {name: _plain(getattr(result, name)) for name in CellResult.__dataclass_fields__}
    row["verdict"] = result.verdict.value
    row["findings"] = [
        {name: _plain(getattr(finding, name)) for name in Finding.__dataclass_fields__} for finding in result.findings
    ]
    line = result.timeline
    row["timeline"] = None
    if line is not None:
        chart: dict[str, Json] = {name: _plain(getattr(line, name)) for name in Timeline.__dataclass_fields__}
        chart["marks"] = [
            {"time_s": mark.time_s, "kind": mark.kind, "text": mark.text, "index": mark.index} for mark in line.marks
        ]
        row["timeline"] = chart
    return row


def result_from_json(data: Mapping[str, Json], where: str = "verdict.json") -> CellResult:
    """The inverse of :func:`result_to_json`; UsageError that begins with ``where`` on anything that is not one."""
    return build(CellResult, data, where)


def _plain(value: object) -> Json:
    """Tuples become lists, mappings dicts, enums their values."""
    if isinstance(value, Guarantee | Verdict):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
