"""The two tables that several formats show, as data: strategy × scenario, and the strategies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Guarantee, Verdict
from harness.coverage import Met, coverage
from harness.rendering.words import duplicates, leaks, lost, worst_first
from harness.summary import number, standings, total


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of the matrix: the worst cell there, and how many there are; ``cell`` is None where none ran."""

    scenario: str
    cell: CellResult | None
    cells: int


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy of the matrix; ``outcome`` sums the row up in words."""

    strategy: str
    role: str
    entries: tuple[Entry, ...]
    outcome: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Strategy × scenario; candidates best first, then controls by name."""

    scenarios: tuple[str, ...]
    candidates: tuple[Row, ...]
    controls: tuple[Row, ...]


def matrix(summary: RunSummary) -> Matrix:
    """The cells of a run as strategy × scenario, scenarios in the summary's order."""
    scenarios = scenario_names(summary)
    ranked = [standing.strategy for standing in standings(summary.cells)]
    controls = sorted({cell.strategy for cell in summary.cells if cell.role == "control" and not cell.planted})
    return Matrix(
        scenarios,
        tuple(_row(summary.cells, name, "candidate", scenarios) for name in ranked),
        tuple(_row(summary.cells, name, "control", scenarios) for name in controls),
    )


def scenario_names(summary: RunSummary) -> tuple[str, ...]:
    """The scenarios that have cells: described ones first, in their order, then the rest by name.

    What only tests the judge stands in a table of its own: see ``summary.trials``.
    """
    there = {cell.scenario for cell in summary.cells if not cell.planted}
    told = [scenario.name for scenario in summary.scenarios if scenario.name in there]
    return (*told, *sorted(there - set(told)))


def _row(cells: Sequence[CellResult], strategy: str, role: str, scenarios: Sequence[str]) -> Row:
    mine = [cell for cell in cells if cell.strategy == strategy and cell.role == role and not cell.planted]
    entries = []
    for scenario in scenarios:
        here = worst_first([cell for cell in mine if cell.scenario == scenario])
        if role == "control":
            here.sort(key=lambda cell: cell.as_it_should_be)
        entries.append(Entry(scenario, here[0] if here else None, len(here)))
    return Row(strategy, role, tuple(entries), _outcome(mine, role))


def _outcome(cells: Sequence[CellResult], role: str) -> str:
    if role == "control":
        due = [cell for cell in cells if cell.expected]
        if not due:
            return "nothing demanded here"
        return f"caught in {sum(cell.as_it_should_be for cell in due)} of {len(due)}"
    kept = sum(cell.verdict is Verdict.PASS for cell in cells)
    return f"kept all in {kept} of {len(cells)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One strategy's numbers over all its cells. Counts are sums, times and connections the worst of any cell."""

    strategy: str
    role: str
    cells: int
    passed: int
    calls: int
    leaks: int
    lost: int
    duplicates: int
    refused: int
    in_doubt: int
    failed: int
    recovery_s: float | None
    p95_ms: float | None
    peak_connections: float | None


def sides(summary: RunSummary) -> tuple[Side, ...]:
    """The strategies side by side, in the matrix's order."""
    table = matrix(summary)
    return tuple(_side(row, summary.cells) for row in (*table.candidates, *table.controls))


def _side(row: Row, cells: Sequence[CellResult]) -> Side:
    mine = [cell for cell in cells if cell.strategy == row.strategy and cell.role == row.role and not cell.planted]

    def worst(key: str) -> float | None:
        return max((value for cell in mine if (value := number(cell, key)) is not None), default=None)

    return Side(
        strategy=row.strategy,
        role=row.role,
        cells=len(mine),
        passed=sum(cell.verdict is Verdict.PASS for cell in mine),
        calls=int(total(mine, "calls")),
        leaks=sum(leaks(cell) for cell in mine),
        lost=sum(lost(cell) for cell in mine),
        duplicates=sum(duplicates(cell) for cell in mine),
        refused=int(total(mine, "refused")),
        in_doubt=int(total(mine, "in_doubt")),
        failed=int(total(mine, "failed")),
        recovery_s=worst("recovery_s"),
        p95_ms=worst("p95_ms"),
        peak_connections=worst("peak_connections"),
    )


@dataclass(frozen=True, slots=True)
class Bite:
    """Whether a scenario's faults really acted: cells with a witness for every window, of cells that ran."""

    scenario: str
    proved: int
    cells: int
    summary: str


def bites(summary: RunSummary) -> tuple[Bite, ...]:
    """What ``exercised`` found, scenario by scenario; ``summary`` is taken from the worst cell."""
    found = []
    for scenario in scenario_names(summary):
        here = [
            finding
            for cell in summary.cells
            if cell.scenario == scenario and cell.verdict is not Verdict.SKIP
            for finding in cell.findings
            if finding.guarantee is Guarantee.EXERCISED
        ]
        here.sort(key=lambda finding: finding.verdict.rank)
        proved = sum(finding.verdict is Verdict.PASS for finding in here)
        ran = sum(cell.scenario == scenario and cell.verdict is not Verdict.SKIP for cell in summary.cells)
        found.append(Bite(scenario, proved, ran, here[0].summary if here else ""))
    return tuple(found)


def tally(summary: RunSummary) -> dict[str, int]:
    """How many cells stand how: kept, broken, slow, undecided, errors, skipped, and the controls' own counts.

    Cells that test the judge are counted by themselves, where there are any.
    """
    candidates = [cell.verdict for cell in summary.cells if cell.role != "control"]
    controls = [cell for cell in summary.cells if cell.role == "control" and not cell.planted]
    planted = [cell for cell in summary.cells if cell.planted]
    due = [cell for cell in controls if cell.expected]
    return {
        "cells": len(summary.cells),
        "kept": candidates.count(Verdict.PASS),
        "broken": candidates.count(Verdict.FAIL),
        "slow": candidates.count(Verdict.SLOW),
        "undecided": candidates.count(Verdict.INVALID),
        "errors": sum(cell.verdict is Verdict.ERROR for cell in summary.cells),
        "skipped": sum(cell.verdict is Verdict.SKIP for cell in summary.cells),
        "controls due": len(due),
        "controls caught": sum(cell.as_it_should_be for cell in due),
        **({"planted": len(planted), "planted caught": sum(c.as_it_should_be for c in planted)} if planted else {}),
    }


@dataclass(frozen=True, slots=True)
class MetRow:
    """One fault under one durability, over all cells; ``agents`` in the order of the columns."""

    fault: str
    durability: str
    agents: tuple[Met, ...]


def met(summary: RunSummary) -> tuple[MetRow, ...]:
    """Which fault met which agent, in which phase of a turn; every row has the same agents."""
    rows = coverage(summary.cells)
    names = sorted({row.agent for row in rows})
    keys = dict.fromkeys((row.fault, row.durability) for row in rows)
    by = {(row.fault, row.durability, row.agent): row for row in rows}
    nothing = [Met(fault=f, durability=d, agent=n, cells=0, phases=(), missed=()) for f, d in keys for n in names]
    places = {(row.fault, row.durability, row.agent): row for row in nothing} | by
    return tuple(MetRow(f, d, tuple(places[f, d, name] for name in names)) for f, d in keys)
