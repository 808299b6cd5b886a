"""One summary, five formats, the same numbers: each is parsed as its own readers would, and compared."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import junitparser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import tests.rendering.reportsample as sample
from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Guarantee, Verdict
from harness.rendering import html, junit, markdown, render_all, summary_json, tables, terminal, words

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "summary.schema.json").read_text())


class Report(HTMLParser):
    """What a reader of ``report.html`` gets: the cells with their verdicts, the tables, all text, every tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._table: str | None = None
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append((tag, named))
        if tag == "details" and "data-cell" in named:
            self.cells[str(named["data-cell"])] = str(named["data-verdict"])
        if tag == "table":
            self._table = str(named.get("class"))
        if self._table is not None and tag == "tr":
            self.rows.setdefault(self._table, []).append([])
        if self._table is not None and tag in ("td", "th"):
            self.rows[self._table][-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = None
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._table is not None and self._inside:
            self.rows[self._table][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


@st.composite
def summaries(draw: st.DrawFn) -> RunSummary:
    """Runs of up to twelve cells with any verdicts, roles and counts, whole or cut short."""
    cells: list[CellResult] = []
    for number in range(draw(st.integers(0, 12))):
        control = draw(st.booleans())
        verdict = draw(st.sampled_from(Verdict))
        guarantee = draw(st.sampled_from(Guarantee))
        cells.append(
            sample.cell(
                draw(st.sampled_from(sample.SCENARIOS)).name,
                draw(st.sampled_from(sample.CONTROLS if control else sample.CANDIDATES)),
                role="control" if control else "candidate",
                seed=number,
                verdict=verdict,
                broken={guarantee: (verdict, "as drawn")},
                measures={
                    "calls": draw(st.integers(0, 10_000)),
                    "in_doubt": draw(st.integers(0, 99)),
                    "recovery_s": draw(st.floats(0, 30)),
                    "pool_closed": draw(st.integers(0, 40)) if verdict is Verdict.FAIL else 0,
                },
            )
        )
    missing = draw(st.integers(0, 3))
    return sample.summary(cells, planned=len(cells) + missing, interrupted=draw(st.sampled_from([None, 2, 15])))


def verdicts(summary: RunSummary) -> dict[str, str]:
    return {cell.id: cell.verdict.value for cell in summary.cells}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(summaries())
def test_every_format_shows_the_same_verdicts_and_counts(summary: RunSummary) -> None:
    data = json.loads(summary_json.render(summary))
    report = Report(html.render(summary))
    suite = junitparser.JUnitXml.fromstring(junit.render(summary).encode())
    cases = [case for suite_ in suite for case in suite_]
    assert {cell["id"]: cell["verdict"] for cell in data["cells"]} == verdicts(summary)
    assert report.cells == verdicts(summary)
    assert {str(case.name): properties(case)["verdict"] for case in cases} == verdicts(summary)
    assert suite.tests == len(summary.cells)
    for text in (
        report.text,
        terminal.render(summary),
        markdown.render(summary),
        json.dumps(data),
        junit.render(summary),
    ):
        assert re.search(rf"exit\W+(value=\W)?{summary.exit}\b", text)
    bad = sum(words.needs_attention(cell) for cell in summary.cells)
    assert suite.failures + suite.errors == bad
    assert report.text.count(words.stamp(summary) or "INCOMPLETE") == (1 if words.stamp(summary) else 0)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(summaries())
def test_the_matrix_and_the_strategies_are_the_same_in_html_markdown_and_terminal(summary: RunSummary) -> None:
    report = Report(html.render(summary))
    matrix = tables.matrix(summary)
    rows = {row.strategy + row.role: row for row in (*matrix.candidates, *matrix.controls)}
    expected = Counter(
        (words.label(entry.cell)[1], words.figure(entry.cell))
        for row in rows.values()
        for entry in row.entries
        if entry.cell is not None
    )
    in_html = Counter(cell for row in report.rows.get("matrix", []) for cell in entries(row[1:]))
    in_markdown = Counter(cell for row in table(markdown.render(summary), "Scenario") for cell in entries(row[1:]))
    assert in_html == expected
    assert in_markdown == expected
    plain = " ".join(terminal.render(summary, width=400).split())
    for word, figure in expected:
        assert f"{word} {figure}" in plain
    sides = {(side.strategy, side.role): side for side in tables.sides(summary)}
    for row in report.rows.get("sides", [])[1:]:
        side = sides[(row[0], row[1])]
        counts = (side.calls, side.leaks, side.lost, side.duplicates)
        assert row[2:7] == [f"{side.passed} of {side.cells}", *(f"{n:,}" for n in counts)]
        assert row[10:] == [f"{n:,}" for n in (side.refused, side.in_doubt, side.failed)]
    shown = [row[2] for row in table(markdown.render(summary), "Strategies")[2:]]
    assert shown == [f"{side.calls:,}" for side in sides.values()]


def properties(case: Any) -> dict[str, str]:
    found = case._elem.find("properties")
    return {item.get("name"): item.get("value") for item in found}


def entries(cells: list[str]) -> Iterator[tuple[str, str]]:
    """(word, number) of each filled place of a matrix row."""
    for cell in cells:
        match = re.match(r"\W*?(NOT CAUGHT|[A-Z]{4,})\s*(.*?)( \(\d+ cells\))?$", cell.strip())
        if match:
            yield match[1], match[2]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the Markdown table under a heading."""
    section = text.partition(f"### {heading}")[2].partition("\n### ")[0]
    rows = [line for line in section.split("\n") if line.startswith("|")]
    return [[cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(summaries())
def test_summary_json_keeps_its_schema(summary: RunSummary) -> None:
    Draft202012Validator(SCHEMA).validate(json.loads(summary_json.render(summary)))


def test_the_schema_itself_is_valid_and_refuses_what_is_wrong() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    good = summary_json.to_json(sample.summary())
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "exit": 2})
    assert not validator.is_valid({key: value for key, value in good.items() if key != "decision"})
    assert not validator.is_valid({**good, "timeline": []})


def test_summary_json_holds_no_number_that_json_does_not_have() -> None:
    odd = sample.cell(measures={"recovery_s": float("inf"), "list": [float("nan"), {"deep": float("-inf")}]})
    data = json.loads(summary_json.render(sample.summary([odd])), parse_constant=pytest.fail)
    assert data["cells"][0]["measures"] == {"recovery_s": None, "list": [None, {"deep": None}]}


def test_summary_json_leaves_the_timelines_out() -> None:
    assert "latencies" not in summary_json.render(sample.summary())
    assert "timeline" not in summary_json.render(sample.summary())


def test_every_file_of_a_run_is_rendered() -> None:
    assert set(render_all(sample.summary())) == {"report.html", "summary.json", "junit.xml", "summary.md"}


# -- junit: what counts as a failure -------------------------------------------------------------------------------


def outcome(cell: CellResult) -> str:
    """passed, failure, error or skipped, as CI reads it."""
    suite = junitparser.JUnitXml.fromstring(junit.render(sample.summary([cell])).encode())
    (case,) = [case for suite_ in suite for case in suite_]
    return type(case.result[0]).__name__.lower() if case.result else "passed"


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("PASS", "passed"), ("FAIL", "failure"), ("SLOW", "failure"), ("INVALID", "error"), ("ERROR", "error"),
     ("SKIP", "skipped")],
)  # fmt: skip
def test_junit_of_a_candidate(verdict: str, expected: str) -> None:
    assert outcome(sample.cell(verdict=Verdict(verdict))) == expected


@pytest.mark.parametrize("verdict", list(Verdict))
def test_junit_of_a_control_of_which_nothing_is_demanded(verdict: Verdict) -> None:
    expected = {Verdict.ERROR: "error", Verdict.SKIP: "skipped"}.get(verdict, "passed")
    assert outcome(sample.cell("network/slicer", "naive_recreate", role="control", verdict=verdict)) == expected


def test_junit_of_a_control_that_is_due() -> None:
    leak = {Guarantee.NO_POOL_CLOSED: (Verdict.FAIL, "31 leaked")}
    caught = sample.cell("network/post_incident", "naive_recreate", role="control", broken=leak)
    missed = sample.cell("network/post_incident", "naive_recreate", role="control")
    assert outcome(caught) == "passed"
    assert outcome(missed) == "failure"
    text = junit.render(sample.summary([missed]))
    assert "NOT CAUGHT" in text
    assert "Not caught breaking no_pool_closed, so this run proves nothing." in text


def test_junit_names_the_cell_the_seed_and_how_to_run_it_again() -> None:
    suite = junitparser.JUnitXml.fromstring(junit.render(sample.summary([sample.cell(seed=7)])).encode())
    (case,) = [case for suite_ in suite for case in suite_]
    assert (case.name, case.classname) == ("network.steady-shared_swap-async-7", "network/steady")
    assert properties(case)["seed"] == "7"
    assert properties(case)["replay"] == "poolproof replay network.steady-shared_swap-async-7"
