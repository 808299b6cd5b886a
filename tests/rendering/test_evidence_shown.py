"""What proves an anomaly reaches every reader: operations, checkpoints, windows, in html, markdown and summary.json."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import tests.rendering.reportsample as sample
from harness.core.cell import CellSpec
from harness.core.facts import Checkpoint
from harness.core.record import CellResult
from harness.core.verdict import Finding, Guarantee, Json, Verdict
from harness.judge import judge, result_from_json, result_to_json
from harness.rendering import html, markdown, summary_json
from harness.rendering.evidence import DEEPEST, proofs
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell, turns_of
from tests.rendering.test_formats_agree import Report

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "summary.schema.json").read_text())


def _cell() -> CellResult:
    """An acknowledged turn, hidden by a fork, with a window around it."""
    made = MadeCell()
    made.call("turn", "t1")
    made.now_s = 2.0
    made.strike(kind="reset_peer")
    made.call("turn", "t2", took_s=0.5)
    made.now_s = 4.0
    made.heal()
    tree = (
        Checkpoint("1f0c-0001", None, "input", -1),
        Checkpoint("1f0c-0002", "1f0c-0001", "loop", 0, f"{THREAD}/t2"),
        Checkpoint("1f0c-0003", "1f0c-0001", "loop", 0, f"{THREAD}/t1"),
    )
    gone = turns_of(1)
    facts = made.facts(turns=gone, answers=gone, effects=(), sql_turns=gone, forks=1, tree=tree)
    spec = CellSpec(id="lost", scenario="network/reset_mid_turn", strategy="forgetful")
    return judge(
        spec, role="candidate", breaks=frozenset(), expected=(), bounds=BOUNDS, history=made.history, facts=facts
    )


SHOWN = (
    "L2, an acknowledged turn is hidden",
    f"turn {THREAD}/t2 on g0/SupervisorAgent",
    "answered; shows t1, t2",
    "3 checkpoints, 1 fork",
    "step -1; input; root; forks here",
    "holds up to t2",
    "the tip, which is read",
    "reset_peer 2.00 to 4.00 s (during it)",
)


@pytest.mark.parametrize("words", SHOWN)
def test_html_shows_it(words: str) -> None:
    assert words in Report(html.render(sample.summary([_cell()]))).text


@pytest.mark.parametrize("words", SHOWN)
def test_markdown_shows_it(words: str) -> None:
    text = markdown.render(sample.summary([_cell()]))
    assert words.replace("_", r"\_") in text


def test_summary_json_carries_it_as_its_schema_says() -> None:
    document: Any = json.loads(summary_json.render(sample.summary([_cell()])))
    Draft202012Validator(SCHEMA).validate(document)
    (finding,) = (f for f in document["cells"][0]["findings"] if f["guarantee"] == "no_lost_turn")
    (case,) = finding["details"]["anomalies"]
    assert finding["codes"] == [case["code"]] == ["L2"]
    assert [row["index"] for row in case["operations"]] == finding["evidence"]
    assert [node["tip"] for node in case["tree"]["nodes"]] == [False, False, True]
    case["code"] = "L9"
    assert not Draft202012Validator(SCHEMA).is_valid(document), "the schema knows the codes"


def test_it_survives_the_disk() -> None:
    cell = _cell()
    again = result_from_json(json.loads(json.dumps(result_to_json(cell))))
    assert proofs(again, 9) == proofs(cell, 9)
    assert len(proofs(cell, 9)) == 2, "L2, and the fork (P1) that hides the turn"


def test_no_more_are_shown_than_asked_for() -> None:
    assert [proof.code for proof in proofs(_cell(), 1)] == ["L2"]
    assert proofs(_cell(), 0) == []


def test_a_cell_that_is_as_it_should_be_shows_one() -> None:
    control = dataclasses.replace(
        _cell(), role="control", expected=("no_lost_turn",), caught=("no_lost_turn",), scenario="network/steady"
    )
    page = html.render(sample.summary([control]))
    assert page.count('class="more anomaly"') == 1
    assert html.render(sample.summary([_cell()])).count('class="more anomaly"') == 2


def test_reports_of_many_broken_cells_keep_their_budget() -> None:
    cells = [dataclasses.replace(_cell(), id=f"lost-{number}", seed=number) for number in range(300)]
    page = html.render(sample.summary(cells))
    assert len(page.encode()) <= html.CAP_BYTES
    assert 'class="more anomaly"' in page


@pytest.mark.parametrize(
    "told",
    [
        "words",
        [3],
        [{}],
        [{"code": 3, "tree": [], "operations": [7], "windows": {}}],
        [{"operations": [{"index": "x", "time_s": None}], "tree": {"nodes": [{"id": 3, "skipped": "many"}]}}],
        [{"tree": {"checkpoints": 1e300, "nodes": [{}]}, "windows": [{"began_s": "soon"}]}],
        [{"text": "<script>x</script>", "tree": {"nodes": [{"id": "<b>", "step": True}]}}],
    ],
)
def test_whatever_stands_in_the_details_is_survived(told: Json) -> None:
    finding = Finding(
        guarantee=Guarantee.ISOLATION, verdict=Verdict.FAIL, summary="x", details={"anomalies": told}, codes=("X1",)
    )
    summary = sample.summary([dataclasses.replace(_cell(), findings=(finding,))])
    page = html.render(summary)
    assert "<script>x" not in page
    assert "<code><b></code>" not in page
    assert markdown.render(summary)


def test_branches_are_set_apart_up_to_a_depth() -> None:
    nodes: list[Json] = [
        {"id": str(n), "parent": str(n - 1) if n else None, "step": n, "forks": True, "tip": n == 9, "skipped": n % 2}
        for n in range(10)
    ]
    case: Json = {"code": "P1", "tree": {"checkpoints": 40, "forks": 10, "nodes": nodes}}
    finding = Finding(guarantee=Guarantee.ISOLATION, verdict=Verdict.FAIL, summary="x", details={"anomalies": [case]})
    (proof,) = proofs(dataclasses.replace(_cell(), findings=(finding,)), 1)
    assert [node.depth for node in proof.nodes] == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]
    assert DEEPEST == 6
    assert proof.checkpoints == "40 checkpoints, 10 of them shown, 10 forks"
    assert proof.nodes[0].words == "step 0; root; forks here"
    assert proof.nodes[1].words == "step 1; after 0, 1 between; forks here"
    assert proof.nodes[2].words == "step 2; after 1; forks here"
