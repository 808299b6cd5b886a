"""``junit.xml`` for CI: one test case per cell. A caught control passes; one that was due and not caught fails."""

from __future__ import annotations

import io
from collections.abc import Iterable

import junitparser
from junitparser import xunit2

from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Verdict
from harness.rendering.words import explanation, findings_worst_first, replay, stamp, visible


def render(summary: RunSummary) -> str:
    """The XML document as text.

    FAIL and SLOW are failures, ERROR and INVALID errors, SKIP is skipped. What else a control broke is no failure.
    """
    suite = xunit2.TestSuite("poolproof")  # type: ignore[no-untyped-call]
    suite.timestamp = visible(summary.started)
    for name, value in _run_properties(summary):
        suite.add_property(name, visible(value))
    suite.add_testcases([_case(cell) for cell in summary.cells])
    document = xunit2.JUnitXml("poolproof")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    text = io.BytesIO()
    document.write(text)
    return text.getvalue().decode("utf-8")


def _run_properties(summary: RunSummary) -> Iterable[tuple[str, str]]:
    yield "exit", str(summary.exit)
    yield "exit_reason", summary.exit_reason
    yield "decision", summary.decision
    if stamp(summary):
        yield "incomplete", stamp(summary)


def _case(cell: CellResult) -> xunit2.TestCase:
    case = xunit2.TestCase(visible(cell.id), visible(cell.scenario), round(cell.wall_s, 3))
    for name, value in _cell_properties(cell):
        case.add_property(name, visible(value))
    outcome = _outcome(cell)
    if outcome is not None:
        case.result = [outcome]
    return case


def _cell_properties(cell: CellResult) -> Iterable[tuple[str, str]]:
    yield "verdict", cell.verdict.value
    yield "strategy", cell.strategy
    yield "role", cell.role
    if cell.planted:
        yield "mistake", cell.mistake
    yield "durability", cell.durability
    yield "seed", str(cell.seed)
    yield "replay", replay(cell)
    if cell.folder:
        yield "folder", cell.folder


def _outcome(cell: CellResult) -> junitparser.junitparser.FinalResult | None:
    """None is a pass."""
    if cell.verdict is Verdict.SKIP and not cell.expected:
        return junitparser.Skipped(visible(cell.reason))
    if cell.verdict is Verdict.ERROR:
        return _told(junitparser.Error, cell)
    if cell.role == "control":
        return None if cell.as_it_should_be else _told(junitparser.Failure, cell, "NOT CAUGHT")
    if cell.verdict in (Verdict.FAIL, Verdict.SLOW):
        return _told(junitparser.Failure, cell)
    return _told(junitparser.Error, cell) if cell.verdict is Verdict.INVALID else None


def _told(
    kind: type[junitparser.junitparser.FinalResult], cell: CellResult, word: str = ""
) -> junitparser.junitparser.FinalResult:
    message = explanation(cell) or "no reason was recorded"
    result = kind(visible(message), word or cell.verdict.value)
    findings = [
        f"{finding.verdict.value} {finding.guarantee.value}: {finding.summary}"
        for finding in findings_worst_first(cell)
        if finding.verdict is not Verdict.PASS
    ]
    result.text = "\n".join(visible(line) for line in [message, *findings, f"again: {replay(cell)}"])
    return result
