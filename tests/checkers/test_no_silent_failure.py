"""no_silent_failure: a failed save is made good, told, or logged."""

from __future__ import annotations

import dataclasses

import pytest

from harness.checkers.no_silent_failure import NoSilentFailure
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, OpType
from harness.core.verdict import Finding, Json, Verdict
from tests.checkers.made_histories import BOUNDS, CANCELLED, OPERATIONAL, THREAD, TIMEOUT, MadeCell, shows

LOST = dataclasses.replace(OPERATIONAL, message="server closed the connection unexpectedly")
OWN = ErrorInfo("ServiceError", "try again later", ("ServiceError", "Exception", "BaseException"))


def _check(cell: MadeCell) -> Finding:
    return NoSilentFailure().check(cell.history, Facts(), BOUNDS)


def _failed_save(
    kind: OpType,
    value: dict[str, Json] | None = None,
    error: ErrorInfo | None = None,
    *,
    save: ErrorInfo = LOST,
    f: str = "aput",
) -> MadeCell:
    """A turn whose only attempt had a save that raised; ``kind``, ``value``, ``error``: how the call ended."""
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    attempt = cell.invoke("attempt", "u0", {"parent": call, "n": 1, "step": "send"})
    cell.save(f, parent=call, error=save)
    cell.complete(attempt, OpType.INFO, {}, save)
    cell.complete(call, kind, value, error)
    return cell


def test_no_save_proves_nothing() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    shows(_check(cell), Verdict.INVALID)


def test_saves_that_went_well() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call)
    cell.complete(call)
    finding = _check(cell)
    shows(finding, Verdict.PASS)
    assert finding.details["saves"] == 1


@pytest.mark.parametrize("f", ["aput", "aput_writes"])
def test_swallowed_and_acknowledged(f: str) -> None:
    finding = _check(_failed_save(OpType.OK, f=f))
    shows(finding, Verdict.FAIL)
    assert "server closed" in finding.summary
    assert finding.evidence == (0, 2, 3, 5)


def test_a_read_that_failed_is_no_save() -> None:
    cell = _failed_save(OpType.OK, f="aget_tuple")
    cell.save("aput", parent=1)
    shows(_check(cell), Verdict.PASS)


def test_told_to_the_caller() -> None:
    shows(_check(_failed_save(OpType.INFO, error=LOST)), Verdict.PASS)
    wrapped = dataclasses.replace(OWN, links=(("context", "OperationalError", LOST.message),))
    shows(_check(_failed_save(OpType.INFO, error=wrapped)), Verdict.PASS)


@pytest.mark.parametrize("error", [OWN, OPERATIONAL, dataclasses.replace(LOST, type="Other")])
def test_another_exception_does_not_tell_it(error: ErrorInfo) -> None:
    shows(_check(_failed_save(OpType.INFO, error=error)), Verdict.FAIL)


def test_a_refusal_does_not_tell_it() -> None:
    shows(_check(_failed_save(OpType.INFO, {"refused": True, "code": "busy"})), Verdict.FAIL)


@pytest.mark.parametrize(
    ("level", "thread", "verdict"),
    [
        ("ERROR", THREAD, Verdict.PASS),
        ("CRITICAL", THREAD, Verdict.PASS),
        ("WARNING", THREAD, Verdict.FAIL),
        ("ERROR", None, Verdict.FAIL),
    ],
)
def test_logged(level: str, thread: str | None, verdict: Verdict) -> None:
    cell = _failed_save(OpType.INFO, {"refused": True})
    cell.point("log", "service", {"level": level, "text": "could not save", "thread": thread})
    shows(_check(cell), verdict)


def test_a_log_record_from_before_does_not_tell_it() -> None:
    cell = MadeCell()
    cell.point("log", "service", {"level": "ERROR", "text": "an older failure", "thread": THREAD})
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=LOST)
    cell.complete(call, OpType.INFO, {"refused": True})
    shows(_check(cell), Verdict.FAIL)


def test_made_good_by_a_later_attempt_of_the_same_call() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.attempt(call, 1, error=LOST)
    first = cell.invoke("attempt", "u0", {"parent": call, "n": 2, "step": "finish"})
    cell.save("aput", parent=call, error=LOST)
    cell.complete(first, OpType.INFO, {}, LOST)
    cell.attempt(call, 3)
    cell.complete(call)
    shows(_check(cell), Verdict.PASS)


def test_an_attempt_that_ended_well_before_the_save_failed_makes_nothing_good() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.attempt(call, 1)
    cell.save("aput", parent=call, error=LOST)
    cell.complete(call)
    shows(_check(cell), Verdict.FAIL)


@pytest.mark.parametrize("with_attempt", [True, False])
def test_made_good_by_a_later_call_of_the_same_turn(with_attempt: bool) -> None:
    cell = _failed_save(OpType.INFO, {"refused": True})
    call = cell.begin("turn", "t1", attempt=2)
    if with_attempt:
        cell.attempt(call)
    cell.complete(call)
    shows(_check(cell), Verdict.PASS)


def test_another_turn_s_success_makes_nothing_good() -> None:
    cell = _failed_save(OpType.INFO, {"refused": True})
    cell.attempt(cell.begin("turn", "t2"))
    shows(_check(cell), Verdict.FAIL)


def test_a_failure_that_fell_with_the_one_that_ended_the_call() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.save("aput_writes", parent=call, error=OPERATIONAL)
    cell.save("aput_writes", parent=call, error=LOST)
    cell.complete(call, OpType.INFO, {}, LOST)
    shows(_check(cell), Verdict.PASS)


@pytest.mark.parametrize(("kind", "verdict"), [(OpType.OK, Verdict.FAIL), (OpType.INFO, Verdict.PASS)])
def test_a_save_cancelled_by_a_deadline_is_told_by_a_call_that_was_not_answered(kind: OpType, verdict: Verdict) -> None:
    error = None if kind is OpType.OK else TIMEOUT
    shows(_check(_failed_save(kind, error=error, save=CANCELLED)), verdict)


def test_the_deadline_that_ended_the_last_attempt_speaks_for_the_earlier_ones() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=LOST)
    cell.attempt(call, 1, error=LOST)
    cell.attempt(call, 2, error=CANCELLED)
    cell.complete(call, OpType.INFO, {}, TIMEOUT)
    shows(_check(cell), Verdict.PASS)


def test_a_timeout_of_the_service_s_own_making_does_not() -> None:
    shows(_check(_failed_save(OpType.INFO, error=TIMEOUT)), Verdict.FAIL)


def test_a_call_that_never_ended_is_for_no_hang_to_judge() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=LOST)
    shows(_check(cell), Verdict.PASS)


@pytest.mark.parametrize("parent", [None, 77])
def test_a_save_that_belongs_to_no_call(parent: int | None) -> None:
    cell = MadeCell()
    cell.save("aput", parent=parent, error=LOST)
    shows(_check(cell), Verdict.FAIL)
    cell.point("log", "service", {"level": "ERROR", "text": "x", "thread": THREAD})
    shows(_check(cell), Verdict.PASS)
