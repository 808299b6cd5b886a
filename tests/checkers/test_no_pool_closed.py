"""no_pool_closed: what callers saw, and who closed the pool."""

from __future__ import annotations

import dataclasses

import pytest

from harness.checkers.no_pool_closed import NoPoolClosed
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, OpType
from harness.core.verdict import Finding, Verdict
from tests.checkers.made_histories import BOUNDS, CLOSED, OPERATIONAL, MadeCell, shows


def _check(cell: MadeCell) -> Finding:
    return NoPoolClosed().check(cell.history, Facts(), BOUNDS)


def test_ordinary_errors_and_replies_are_no_leak() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", status="info", error=OPERATIONAL)
    cell.call("turn", "t2", value={"text": "carpools are closed, and the swimming pool is open"})
    finding = _check(cell)
    shows(finding, Verdict.PASS)
    assert "3 calls" in finding.summary


def test_nobody_called_proves_nothing() -> None:
    shows(_check(MadeCell()), Verdict.INVALID)


@pytest.mark.parametrize("kind", ["turn", "resume", "restore", "fork", "delete"])
@pytest.mark.parametrize("status", ["fail", "info"])
def test_an_exception_that_reaches_a_caller(kind: str, status: str) -> None:
    cell = MadeCell()
    cell.call(kind, "t1", status=status, error=CLOSED)
    finding = _check(cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (0, 1)
    assert finding.details["leaks"] == 1


def test_a_wrapped_one_is_found_and_quoted() -> None:
    links = (("context", "ValueError", "x"), ("member", "PoolClosed", "the pool 'a' is not open yet"))
    wrapped = ErrorInfo("RuntimeError", "could not save", ("RuntimeError",), links, pool_closed=True)
    cell = MadeCell()
    cell.call("turn", "t1", status="info", error=wrapped)
    finding = _check(cell)
    shows(finding, Verdict.FAIL)
    assert "never opened" in finding.summary
    assert "is not open yet" in finding.summary


@pytest.mark.parametrize(
    "words",
    [
        "the pool 'g0-1' is closed",
        "the pool 'g0-1' is already closed",
        "THE POOL\n'x'\nis not open yet",
        "pool has already been opened/closed and cannot be reused",
        "sorry: PoolClosed",
    ],
)
@pytest.mark.parametrize("where", ["text", "code"])
def test_the_words_of_a_reply(words: str, where: str) -> None:
    cell = MadeCell()
    if where == "text":
        cell.call("turn", "t1", value={"text": f"Sorry! {words}. Try again."})
    else:
        cell.call("turn", "t1", status="refused", value={"code": words})
    shows(_check(cell), Verdict.FAIL)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("the pool 'g0-1' is closed", "closed"),
        ("the pool 'g0-1' is already closed", "closed"),
        ("the pool 'g0-1' is not open yet", "never opened"),
        ("pool has already been opened/closed and cannot be reused", "failed to open"),
    ],
)
def test_three_kinds_are_told_apart(message: str, kind: str) -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info", error=dataclasses.replace(CLOSED, message=message))
    finding = _check(cell)
    assert f"({kind})" in finding.summary
    assert finding.details["kinds"] == {kind: 1}


def test_what_a_strategy_handles_itself_is_no_leak() -> None:
    cell = MadeCell()
    for f in ("ensure_healthy", "recreate", "aput", "attempt"):
        cell.complete(cell.invoke(f, "g0", {}), OpType.INFO, {}, CLOSED)
    cell.call("turn", "t1")
    shows(_check(cell), Verdict.PASS)


def test_the_evidence_says_who_closed_the_pool() -> None:
    cell = MadeCell()
    cell.point("pool", "g0", {"event": "close", "pool": "g0-0", "generation": 0, "by": ["other.py:1 nobody"]})
    frames = ["naive.py:40 _recreate_pool", "naive.py:31 ensure_healthy"]
    named = cell.point("pool", "g0", {"event": "close", "pool": "g0-1", "generation": 1, "by": list(frames)})
    cell.point("pool", "g1", {"event": "close", "pool": "g1-1", "generation": 1, "by": ["x.py:1 x"]})
    cell.call("turn", "t1", status="info", error=CLOSED)
    cell.point("pool", "g0", {"event": "close", "pool": "g0-1", "generation": 1, "by": ["later.py:1 y"]})
    finding = _check(cell)
    assert "naive.py:40 _recreate_pool <- naive.py:31 ensure_healthy" in finding.summary
    assert finding.evidence == (named.index, 3, 4)


def test_many_leaks_are_counted_and_the_evidence_is_bounded() -> None:
    cell = MadeCell()
    for number in range(300):
        cell.call("turn", f"t{number}", status="info", error=CLOSED)
    finding = _check(cell)
    assert finding.details["leaks"] == 300
    assert "299 more" in finding.summary
    assert 0 < len(finding.evidence) <= 60
