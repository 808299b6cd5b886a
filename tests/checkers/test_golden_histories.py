"""For each anomaly code one smallest history that shows it and one that comes near and is right: ``golden/*.jsonl``.

The first line of a file says why, the last one what the final reads found, those between are rows of a history.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.checkers import ALL
from harness.core.cell import CellSpec
from harness.core.facts import Facts, facts_from_json
from harness.core.history import CALLS, History, parse_history
from harness.core.verdict import Anomaly, Finding, Guarantee, Verdict
from harness.judge import judge
from tests.checkers.made_histories import BOUNDS

GOLDEN = Path(__file__).parent / "golden"
SPEC = CellSpec(id="c", scenario="family/name", strategy="golden")


@dataclass(frozen=True)
class Golden:
    """One file. ``also`` are codes that come with the anomaly by their nature."""

    code: Anomaly
    why: str
    also: frozenset[str]
    history: History
    facts: Facts


def load(code: Anomaly, kind: str) -> Golden:
    """``kind``: valid or invalid."""
    lines = (GOLDEN / f"{code.value}.{kind}.jsonl").read_text().splitlines(keepends=True)
    head: dict[str, Any] = json.loads(lines[0])
    assert head["code"] == code.value
    facts = facts_from_json(json.loads(lines[-1])["facts"])
    return Golden(code, head["why"], frozenset(head.get("also", ())), parse_history(lines[:-1]), facts)


def findings(history: History, facts: Facts) -> dict[Guarantee, Finding]:
    """What every checker says."""
    return {checker.guarantee: checker.check(history, facts, BOUNDS) for checker in ALL}


def anomalies(history: History, facts: Facts) -> dict[str, int]:
    """How often each anomaly is flagged, by any checker. (Codes of vacuity are no anomalies: a golden cell is tiny.)"""
    found: dict[str, int] = {}
    for finding in findings(history, facts).values():
        counts: Any = finding.details.get("codes", {})
        found |= {code: count for code, count in counts.items() if code in set(Anomaly)}
    return found


def test_every_code_has_both_files_and_no_file_is_without_a_code() -> None:
    due = {f"{code.value}.{kind}.jsonl" for code in Anomaly for kind in ("valid", "invalid")}
    assert {path.name for path in GOLDEN.iterdir()} == due
    assert len(Anomaly) == 16


@pytest.mark.parametrize("code", Anomaly)
def test_the_invalid_one_is_flagged_with_its_code_and_with_no_other(code: Anomaly) -> None:
    golden = load(code, "invalid")
    found = findings(golden.history, golden.facts)
    assert found[code.guarantee].verdict is Verdict.FAIL
    assert code.value in found[code.guarantee].codes
    assert f"{code.value}: " in found[code.guarantee].summary
    assert anomalies(golden.history, golden.facts).keys() == {code.value, *golden.also}
    broken = {guarantee for guarantee, finding in found.items() if finding.verdict is Verdict.FAIL}
    assert broken == {code.guarantee, *(Anomaly(other).guarantee for other in golden.also)}
    assert not [finding for finding in found.values() if finding.verdict in (Verdict.ERROR, Verdict.SLOW)]


@pytest.mark.parametrize("code", Anomaly)
def test_the_valid_one_is_not_flagged(code: Anomaly) -> None:
    golden = load(code, "valid")
    found = findings(golden.history, golden.facts)
    assert found[code.guarantee].verdict is Verdict.PASS, found[code.guarantee]
    assert anomalies(golden.history, golden.facts) == {}
    bad = (Verdict.FAIL, Verdict.ERROR, Verdict.SLOW)
    assert not [finding for finding in found.values() if finding.verdict in bad]


@pytest.mark.parametrize("code", Anomaly)
def test_the_invalid_one_is_smallest_no_call_can_be_left_out(code: Anomaly) -> None:
    golden = load(code, "invalid")
    whole = anomalies(golden.history, golden.facts)
    for call in {op.call for op in golden.history if op.f in CALLS}:
        less = History(op for op in golden.history if op.call != call)
        assert anomalies(less, golden.facts) != whole, f"call {call} of {code.value} proves nothing"


@pytest.mark.parametrize("code", Anomaly)
def test_the_cell_fails_and_its_finding_carries_the_evidence(code: Anomaly) -> None:
    golden = load(code, "invalid")
    cell = judge(
        SPEC,
        role="candidate",
        breaks=frozenset(),
        expected=(),
        bounds=BOUNDS,
        history=golden.history,
        facts=golden.facts,
    )
    assert cell.verdict is Verdict.FAIL
    (finding,) = (finding for finding in cell.findings if finding.guarantee is code.guarantee)
    assert finding.summary in cell.reason or code.value == "P1", "the reason says what was seen"
    cases: Any = finding.details["anomalies"]
    assert [case["code"] for case in cases] == [code.value]
    assert cases[0]["meaning"] == code.meaning
    assert cases[0]["thread"] in golden.facts.threads
