"""What counts as an incident's symptom: which rows, which exceptions of a graph, and what is said of the first."""

from __future__ import annotations

import dataclasses

import pytest

from harness.checkers.symptom import is_shown, sightings
from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.incident import LOG, Incident
from harness.core.verdict import Json


def incident(symptom: str = "boom", *seen_by: str) -> Incident:
    about = {"number": 1, "repo": "o/n", "issue": 7, "red": "naive_recreate", "green": "shared_swap"}
    return Incident(**about, symptom=symptom, **({"seen_by": seen_by} if seen_by else {}))  # type: ignore[arg-type]


def row(index: int, f: str, *graph: tuple[str, str], **value: Json) -> Op:
    """A row that ended in this graph of exceptions, the top one first; without one, in none."""
    error = None
    if graph:
        (name, message), *links = graph
        error = ErrorInfo(name, message, links=tuple(("cause", *link) for link in links))
    return Op(index, float(index), OpType.INFO, f, f"process {index}", None, value, error)


def test_every_row_that_shows_it_counts_and_the_first_is_told() -> None:
    rows = [
        row(0, "turn", ("X", "nothing of it")),
        row(1, "turn", ("X", "first boom")),
        row(2, "turn"),
        row(3, "turn", ("Y", "boom again"), ("Z", "boom below")),
    ]
    found = sightings(History(rows), incident())
    assert (found.times, found.text, found.index) == (2, "X: first boom", 1)
    assert found.measures() == {"symptom_times": 2, "symptom": "X: first boom", "symptom_row": 1}


def test_nothing_seen_is_said_as_nothing() -> None:
    for rows in ([], [row(0, "turn", ("X", "calm"))], [row(0, "turn")]):
        found = sightings(History(rows), incident())
        assert (found.times, found.text, found.index) == (0, "", None)


@pytest.mark.parametrize(
    ("symptom", "text"),
    [
        ("boom", "Y: a boom"), ("^Y: a", "Y: a boom"), ("^X: outer$", "X: outer"), ("^Z: boom, too$", "Z: boom, too"),
        ("Q", ""), ("^cause", ""), ("X: outer.*Y", ""),
    ],
)  # fmt: skip
def test_each_exception_of_the_graph_is_a_line_of_its_own(symptom: str, text: str) -> None:
    rows = [row(0, "turn", ("X", "outer"), ("Y", "a boom"), ("Z", "boom, too"))]
    found = sightings(History(rows), incident(symptom))
    assert (found.text, found.times) == (text, int(bool(text)))


def test_rows_count_where_the_user_saw_it() -> None:
    rows = [row(n, f, ("X", f"boom in {f}")) for n, f in enumerate(("aput", "turn", "open", "resume"))]
    assert sightings(History(rows), incident()).times == 2
    assert sightings(History(rows), incident("boom", "open")).text == "X: boom in open"
    assert sightings(History(rows), incident("boom", "aput", "open")).times == 2


def test_lines_of_the_log_count_where_the_user_saw_it_there() -> None:
    rows = [
        row(0, LOG, text="a calm line"),
        row(1, LOG, text="a boom"),
        row(2, LOG),
        row(3, LOG, TEXT="boom"),
        row(4, "turn", text="boom"),
    ]
    found = sightings(History(rows), incident("boom", LOG, "turn"))
    assert (found.times, found.text, found.index) == (1, "process 1: a boom", 1)
    assert sightings(History(rows), incident("boom")).times == 0
    assert sightings(History(rows), incident("None|X", LOG, "turn")).times == 0, "a line that is not there says nothing"


def test_a_row_of_the_log_with_an_error_is_read_as_an_error() -> None:
    rows = [row(0, LOG, ("X", "calm"), text="boom")]
    assert sightings(History(rows), incident("boom", LOG)).times == 0


@pytest.mark.parametrize(
    ("times", "due", "measures", "shown"),
    [
        (0, 0, {"wasted_nodes": 9}, False), (1, 0, {}, True), (2, 0, {"wasted_nodes": 0}, True), (1, 1, {}, False),
        (1, 3, {"wasted_nodes": 2}, False), (1, 3, {"wasted_nodes": 3}, True), (1, 3, {"wasted_nodes": 4}, True),
        (0, 3, {"wasted_nodes": 4}, False), (1, 0, {"wasted_nodes": "many"}, False),
    ],
)  # fmt: skip
def test_it_is_shown_by_the_words_and_as_many_nodes_in_vain_as_are_due(
    times: int, due: int, measures: dict[str, Json], shown: bool
) -> None:
    found = sightings(History([row(n, "turn", ("X", "boom")) for n in range(times)]), incident())
    assert is_shown(found, dataclasses.replace(incident(), wasted_nodes=due), measures) is shown
