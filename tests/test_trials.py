"""What a run says of the judge's own test: the exit status, the decision, and every format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import junitparser
import pytest
from jsonschema import Draft202012Validator

import tests.rendering.reportsample as sample
from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.coverage import coverage
from harness.judge import result_from_json, result_to_json
from harness.rendering import html, junit, markdown, summary_json, tables, terminal
from harness.summary import summarize, trials
from harness.summary import tested as said

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "summary.schema.json").read_text())
LOST = Guarantee.NO_LOST_TURN


def planted(name: str = "forgetful", *, caught: bool = True, seed: int = 0) -> CellResult:
    """A cell of a planted mistake that ``no_lost_turn`` has to catch; if it does not, another guarantee is broken."""
    found = LOST if caught else Guarantee.NO_HANG
    cell = sample.cell("trust/calm", name, role="control", broken={found: (Verdict.FAIL, "3 turns gone")}, seed=seed)
    findings = tuple(replace(f, codes=("L1",)) if f.guarantee is LOST and caught else f for f in cell.findings)
    return replace(
        cell, findings=findings, mistake="it forgets", expected=(LOST.value,), caught=(LOST.value,) if caught else ()
    )


def candidate(verdict: Verdict = Verdict.PASS) -> CellResult:
    return sample.cell(verdict=verdict)


def run(*cells: CellResult) -> RunSummary:
    return summarize(cells, planned=len(cells), scenarios=(), started="2026-11-21T12:00:00Z", wall_s=1.0)


def test_one_planted_mistake_that_is_missed_makes_the_whole_run_prove_nothing() -> None:
    summary = run(candidate(), planted("forgetful"), planted("sleepy", caught=False))
    assert summary.exit == 3
    assert "sleepy in trust/calm: no_lost_turn" in summary.exit_reason
    assert summary.decision.startswith("This run proves nothing: not caught: sleepy in trust/calm: no_lost_turn.")
    assert said(summary.cells) == "1 of 2 planted mistakes caught"


def test_a_mistake_counts_as_caught_only_if_every_cell_of_it_was() -> None:
    summary = run(candidate(), planted(), planted(seed=1, caught=False))
    assert summary.exit == 3
    (trial,) = trials(summary.cells)
    assert (trial.cells, trial.caught, trial.cell.seed) == (2, 1, 1)
    assert said(summary.cells) == "0 of 1 planted mistake caught"


def test_all_caught_is_said_beside_the_decision_and_changes_nothing_else() -> None:
    summary = run(candidate(), planted())
    assert (summary.exit, summary.exit_reason) == (0, "every guarantee kept in 1 cell")
    assert "The judge was tested: 1 of 1 planted mistake caught." in summary.decision
    assert run(candidate(Verdict.FAIL), planted()).exit == 1


def test_the_judges_test_alone_exits_0_when_all_are_caught_and_3_when_one_is_not() -> None:
    assert (run(planted()).exit, run(planted()).selection) == (0, "controls")
    assert run(planted()).exit_reason == "the judge was tested: 1 of 1 planted mistake caught"
    assert run(planted(), planted("sleepy", caught=False)).exit == 3
    assert run(planted(), sample.cell(role="control", verdict=Verdict.PASS)).exit == 3  # a control that broke nothing


def test_a_planted_strategy_where_nothing_is_demanded_of_it_is_a_control_like_others() -> None:
    cell = replace(planted(), scenario="network/steady", expected=(), caught=())
    summary = run(candidate(), cell)
    assert trials(summary.cells) == ()
    assert [row.strategy for row in tables.matrix(summary).controls] == ["forgetful"]


@pytest.fixture
def both() -> RunSummary:
    return run(candidate(), planted("forgetful"), planted("forgetful", seed=1), planted("sleepy", caught=False))


def test_what_is_compared_and_what_tests_the_judge_are_never_mixed(both: RunSummary) -> None:
    matrix = tables.matrix(both)
    assert matrix.scenarios == ("network/steady",)
    assert [row.strategy for row in (*matrix.candidates, *matrix.controls)] == ["shared_swap"]
    assert [side.strategy for side in tables.sides(both)] == ["shared_swap"]
    assert [bite.scenario for bite in tables.bites(both)] == ["network/steady"]
    counts = tables.tally(both)
    assert (counts["controls due"], counts["planted"], counts["planted caught"]) == (0, 3, 2)
    assert "planted" not in tables.tally(run(candidate()))


def test_summary_json_has_a_section_of_its_own(both: RunSummary) -> None:
    data = json.loads(summary_json.render(both))
    Draft202012Validator(SCHEMA).validate(data)
    assert data["judge"] == {
        "planted": 2,
        "caught": 1,
        "mistakes": [
            {
                "strategy": "forgetful",
                "mistake": "it forgets",
                "scenario": "trust/calm",
                "expected": ["no_lost_turn"],
                "codes": ["L1"],
                "cells": 2,
                "caught": 2,
            },
            {
                "strategy": "sleepy",
                "mistake": "it forgets",
                "scenario": "trust/calm",
                "expected": ["no_lost_turn"],
                "codes": [],
                "cells": 1,
                "caught": 0,
            },
        ],
    }
    assert {cell["role"] for cell in data["cells"] if cell["mistake"]} == {"control"}
    without = json.loads(summary_json.render(run(candidate())))
    Draft202012Validator(SCHEMA).validate(without)
    assert without["judge"] == {"planted": 0, "caught": 0, "mistakes": []}


def test_every_format_shows_the_test_and_what_was_missed(both: RunSummary) -> None:
    page, text, shown = html.render(both), markdown.render(both), terminal.render(both)
    assert "1 of 2 planted mistakes caught" in page
    assert "1 of 2 planted mistakes caught" in text
    assert "judge tested       1 of 2 planted mistakes caught" in shown
    assert "| sleepy | it forgets | no\\_lost\\_turn | ✗ NOT CAUGHT |" in text
    assert "| forgetful | it forgets | no\\_lost\\_turn | ✓ CAUGHT in 2 of 2 (L1) |" in text
    assert '<section id="judge">' in page
    assert "planted" not in html.render(run(candidate()))
    assert "planted" not in markdown.render(run(candidate()))
    assert "judge" not in terminal.render(run(candidate()))


def test_what_they_meet_does_not_count_as_met() -> None:
    rows = coverage([replace(candidate(), plan=()), planted()])
    assert rows == ()
    assert {row.fault for row in coverage([candidate()])} == {"reset_peer"}


def test_junit_fails_just_the_cell_that_was_missed(both: RunSummary) -> None:
    document = junitparser.JUnitXml.fromstring(junit.render(both).encode())
    (suite,) = document
    failed = {case.name for case in suite if case.result}
    assert failed == {"trust.calm-sleepy-async-0"}


def test_the_mistake_survives_the_cells_file() -> None:
    cell = planted()
    assert result_from_json(result_to_json(cell)) == cell
    old = result_to_json(cell)
    del old["mistake"]
    assert result_from_json(old).mistake == ""


def test_a_finding_of_another_guarantee_does_not_count_as_caught() -> None:
    other = Finding(guarantee=Guarantee.AVAILABLE, verdict=Verdict.FAIL, summary="away")
    cell = replace(planted(caught=False), findings=(other,))
    assert run(candidate(), cell).exit == 3
