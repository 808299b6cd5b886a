"""A cell on record that proves something, and how a change to it is judged: the ground of the tests on histories."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from harness.checkers.connection_budget import ConnectionBudget
from harness.checkers.exercised import Exercised
from harness.core.cell import CellSpec
from harness.core.facts import Facts
from harness.core.history import History, Op
from harness.core.record import CellResult, RunSummary
from harness.core.vacuity import Vacuity
from harness.core.verdict import Verdict
from harness.judge import judge
from harness.summary import summarize
from tests.checkers.made_histories import AGENT, BOUNDS, OPERATIONAL, MadeCell

SPEC = CellSpec(id="made-x-async-0", scenario="made/cell", strategy="x", agents=(AGENT,))


def sound(inside: Callable[[MadeCell], object] | None = None, **window: Any) -> MadeCell:
    """Both groups answer; three calls are in flight when a window of three seconds begins; a save fails in it (or
    ``inside`` happens); it heals; both groups answer again.
    """
    cell = MadeCell()
    cell.gate()
    cell.rows[-2].value["route"] = True
    cell.point("route", "sampler", {"through": ["g0", "g1"], "past": []})
    cell.now_s = 3.0
    calls = [cell.begin("turn", f"t{n}", thread=f"{AGENT}.u{n}.1", group=f"g{n % 2}") for n in range(3)]
    window = {"needs_in_flight": 3, "start_s": 0.0, "stop_s": 3.0, **window}
    cell.strike(**window)
    (inside or (lambda made: made.save("aput", error=OPERATIONAL)))(cell)
    for call in calls:
        cell.complete(call, error=OPERATIONAL, kind=type(cell.rows[0].type)("info"))
    cell.now_s = max(cell.now_s, 3.0 + window["stop_s"] - window["start_s"])
    cell.heal()
    cell.sample(g0=[5, 6], g1=[7, 8])
    cell.now_s += 0.5
    cell.everybody(round_=2)
    cell.end()
    return cell


def without(cell: MadeCell, unwanted: Callable[[Op], bool]) -> MadeCell:
    """The cell without some of its rows."""
    cell.rows = [op for op in cell.rows if not unwanted(op)]
    return cell


def verdict_of(cell: MadeCell, facts: Facts | None = None, *, torn: bool = False) -> CellResult:
    """What the checkers of vacuity make of it."""
    return judge(
        SPEC,
        role="candidate",
        breaks=frozenset(),
        expected=(),
        bounds=BOUNDS,
        history=History(cell.rows, torn=torn),
        facts=cell.facts() if facts is None else facts,
        checkers=(ConnectionBudget(), Exercised()),
    )


def run_of(*cells: CellResult, **changes: Any) -> RunSummary:
    """A run of these cells alone."""
    values: dict[str, Any] = {"planned": len(cells), "scenarios": (), "started": "2026-01-01T00:00:00+00:00"}
    return summarize(cells, wall_s=1.0, **{**values, **changes})


def vacuous(code: Vacuity, cell: MadeCell, words: str, facts: Facts | None = None) -> None:
    """Assert that the cell is INVALID for just this reason, that it says what to do, and that the run exits 3."""
    result = verdict_of(cell, facts)
    codes = {found for finding in result.findings for found in finding.codes}
    assert (result.verdict, codes) == (Verdict.INVALID, {code.value}), result.reason
    assert words in result.reason
    assert "; " in result.reason, "what to do about it stands behind the semicolon"
    summary = run_of(result)
    assert summary.exit == 3, summary.exit_reason


def lost_facts(cell: MadeCell, thread: str, **changes: Any) -> Facts:
    """The honest facts, but those of one thread."""
    facts = cell.facts()
    return dataclasses.replace(
        facts, threads={**facts.threads, thread: dataclasses.replace(facts.threads[thread], **changes)}
    )
