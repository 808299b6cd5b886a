"""V12 and V15: a run as a whole proves nothing where a control got away, or a fault never met what it promises."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import pytest

from harness.core.cell import DEFAULT_AGENTS
from harness.core.record import CellResult
from harness.core.vacuity import REST, TURN_PHASES
from harness.core.verdict import Finding, Guarantee, Json, Verdict
from harness.coverage import coverage, holes
from harness.registry import default_registry
from harness.rendering import render_all
from harness.selection import Size, Wish, select
from harness.store import RunRecord
from harness.summary import summarize_record
from tests.vacuity.sound_cell import run_of

_SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "summary.schema.json"
_numbers = itertools.count()


def cell(
    *met: tuple[str, str, Sequence[str]], plan: Sequence[str] = ("reset_peer",), durability: str = "async",
    agents: Sequence[str] = ("A", "B"), verdict: Verdict = Verdict.PASS,
) -> CellResult:  # fmt: skip
    """A cell whose faults met agents in phases: (fault, agent, phases)."""
    found: dict[str, Json] = {}
    for fault, agent, phases in met:
        found.setdefault(fault, {})[agent] = list(phases)  # type: ignore[index, call-overload]
    finding = Finding(guarantee=Guarantee.EXERCISED, verdict=verdict, summary="as told", details={"hits": found})
    return CellResult(
        id=f"s-x-{durability}-{next(_numbers)}",
        scenario="made/cell",
        strategy="x",
        agents=tuple(agents),
        durability=durability,
        seed=0,
        role="candidate",
        verdict=verdict,
        findings=(finding,),
        plan=tuple({"fault": {"kind": kind}, "start_s": 0.0, "stop_s": 1.0} for kind in plan),
    )


def ten(*cells: CellResult) -> list[CellResult]:
    """Each of them ten times: what strikes more rarely promises nothing."""
    return [dataclasses.replace(cell, id=f"{cell.id}-{n}") for cell in cells for n in range(10)]


def control(guarantee: Guarantee, verdict: Verdict) -> CellResult:
    """A control that must be caught breaking ``guarantee``."""
    finding = Finding(guarantee=guarantee, verdict=verdict, summary="as told")
    return dataclasses.replace(
        cell(plan=()),
        strategy="wrong",
        role="control",
        verdict=verdict,
        findings=(finding,),
        expected=(guarantee.value,),
        caught=(guarantee.value,) if verdict is Verdict.FAIL else (),
    )


# -- V12 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_v12_a_control_that_got_away(guarantee: Guarantee) -> None:
    """Of each oracle, the leak detector among them: what it must be caught breaking was not seen."""
    kept = cell()
    assert run_of(kept, control(guarantee, Verdict.FAIL)).exit == 0
    summary = run_of(kept, control(guarantee, Verdict.PASS))
    assert summary.exit == 3
    assert guarantee.value in summary.exit_reason
    assert "V12" in summary.exit_reason
    assert "proves nothing" in summary.decision


def test_v12_every_selection_holds_a_control() -> None:
    registry = default_registry()
    wish = Wish(scenarios=("network/latency",), strategies=("self_healing",))
    chosen = select(registry, wish)
    assert chosen.must_catch, "a run of a candidate alone gets a control"


def test_v12_the_scenarios_ask_for_a_leak() -> None:
    """A control that leaks a connection must be caught by the very detector that candidates pass."""
    registry = default_registry()
    due = {guarantee for scenario in registry.scenarios.values() for _, guarantee in scenario.must_catch}
    assert Guarantee.CONNECTION_BUDGET in due


# -- V15 ----------------------------------------------------------------------------------------------------------

ALL = TURN_PHASES


def test_v15_a_whole_run_that_met_everything() -> None:
    summary = run_of(*ten(cell(("reset_peer", "A", ALL)), cell(("reset_peer", "B", ("load",)))), whole=True)
    assert summary.exit == 0
    assert [(row.agent, row.missed) for row in coverage(summary.cells)] == [
        ("A", ()),
        ("B", ("node", "save", "writes")),
    ]


def test_v15_an_agent_that_a_fault_never_met() -> None:
    cells = ten(cell(("reset_peer", "A", ALL)))
    summary = run_of(*cells, whole=True)
    assert summary.exit == 3
    assert "V15: reset_peer never met B (async)" in summary.exit_reason
    assert run_of(*cells).exit == 0, "a run of a part promises nothing, and shows the hole all the same"
    assert [row.agent for row in coverage(cells) if not row.phases] == ["B"]


def test_v15_a_fault_that_strikes_rarely_promises_nothing() -> None:
    rarely = ten(cell(("reset_peer", "A", ALL)))[:9]
    assert run_of(*rarely, whole=True).exit == 0
    assert [row.agent for row in coverage(rarely) if not row.phases] == ["B"], "and is shown all the same"


def test_v15_a_phase_in_which_a_fault_met_nobody() -> None:
    cells = ten(cell(("reset_peer", "A", ("load", "node")), ("reset_peer", "B", ("node", "writes"))))
    summary = run_of(*cells, whole=True)
    assert summary.exit == 3
    assert "V15: reset_peer never met a turn in phase 'save' (async)" in summary.exit_reason


def test_v15_a_fault_that_was_planned_and_met_nobody() -> None:
    found = holes(coverage(ten(cell(plan=("reset_peer", "black_hole")))))
    assert {text.split(" never")[0] for text in found} == {"V15: reset_peer", "V15: black_hole"}


def test_v15_each_durability_is_a_promise_of_its_own() -> None:
    every = [("reset_peer", "A", ALL), ("reset_peer", "B", ALL)]
    found = holes(coverage(ten(cell(*every), cell(("reset_peer", "A", ALL), durability="sync"))))
    assert found == ("V15: reset_peer never met B (sync)",)


def test_v15_at_exit_no_writes_of_nodes_are_saved() -> None:
    phases = ("load", "node", "save")
    assert holes(coverage(ten(cell(*(("reset_peer", a, phases) for a in "AB"), durability="exit")))) == ()
    assert holes(coverage(ten(cell(*(("reset_peer", a, phases) for a in "AB"), durability="sync"))))


def test_v15_what_was_skipped_promises_nothing() -> None:
    assert coverage([cell(verdict=Verdict.SKIP)]) == ()


def test_v15_a_fault_that_strikes_at_rest() -> None:
    rest = cell(("idle_cut", "A", (REST,)), ("idle_cut", "B", (REST,)), plan=("idle_cut",))
    assert holes(coverage(ten(rest))) == ()
    half = ten(cell(("idle_cut", "A", (REST,)), plan=("idle_cut",)))
    assert holes(coverage(half)) == ("V15: idle_cut never met B (async)",)


def test_v15_an_interrupted_run_is_not_blamed_for_what_it_did_not_get_to() -> None:
    summary = run_of(*ten(cell(("reset_peer", "A", ALL))), whole=True, planned=50, interrupted=2)
    assert "V15" not in summary.exit_reason


def test_v15_only_the_whole_matrix_promises() -> None:
    registry = default_registry()
    for size in Size:
        assert select(registry, Wish(size=size)).whole
    for wish in (Wish(scenarios=("network",)), Wish(strategies=("self_healing",)), Wish(agents=DEFAULT_AGENTS[:1])):
        assert not select(registry, wish).whole


def test_v15_the_record_keeps_the_promise_and_every_report_shows_the_hole() -> None:
    record = RunRecord(started="2026-01-01T00:00:00+00:00", planned=10, whole=True)
    again = RunRecord.from_json(json.loads(json.dumps(record.to_json())))
    summary = summarize_record(again, ten(cell(("reset_peer", "A", ALL))))
    assert summary.exit == 3
    reports = render_all(summary)
    document = json.loads(reports["summary.json"])
    jsonschema.validate(document, json.loads(_SCHEMA.read_text()))
    assert {(row["agent"], len(row["missed"])) for row in document["coverage"]} == {("A", 0), ("B", 4)}
    assert "What no cell met" in reports["summary.md"]
    assert 'id="met"' in reports["report.html"]
