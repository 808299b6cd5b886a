"""What lies exactly on a bound of time: no_hang, recovers, available, declared_errors, with evidence and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.available import Available
from harness.checkers.declared_errors import DeclaredErrors
from harness.checkers.no_hang import NoHang
from harness.checkers.recovers import Recovers
from harness.core.history import ErrorInfo, OpType
from harness.core.verdict import Checker, Finding, Verdict
from tests.checkers.made_histories import AGENT, BOUNDS, OPERATIONAL, TIMEOUT, MadeCell, shows

FOREIGN = ErrorInfo("KeyError", "'x'", ("KeyError", "LookupError", "Exception", "BaseException"))


def _ask(checker: Checker, cell: MadeCell) -> Finding:
    return checker.check(cell.history, cell.facts(), BOUNDS)


def _rows(cell: MadeCell, call: int) -> tuple[int, ...]:
    return tuple(op.index for op in cell.rows if op.call == call)


# -- no_hang ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("took_s", "verdict", "over_s"),
    [
        (7.5, Verdict.PASS, 0.0),
        (8.5, Verdict.PASS, 0.5),
        (10.0, Verdict.PASS, 2.0),
        (10.5, Verdict.SLOW, 2.5),
        (20.0, Verdict.SLOW, 12.0),
        (20.5, Verdict.FAIL, 12.5),
    ],
)
def test_a_call_may_take_its_deadline_and_two_seconds(took_s: float, verdict: Verdict, over_s: float) -> None:
    cell = MadeCell()
    cell.now_s = 1.0
    call = cell.call("turn", "t1", took_s=took_s)
    finding = _ask(NoHang(), cell)
    shows(finding, verdict)
    assert finding.details["longest_over_s"] == over_s
    assert finding.evidence == (() if verdict is Verdict.PASS else _rows(cell, call))


def test_the_watchdog_s_rows_are_evidence() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.now_s = 11.0
    told = cell.point("overdue", "watchdog", {"call": call, "seconds": 3.0}).index
    cell.point("overdue", "watchdog", {"call": call + 1, "seconds": 3.0})
    cell.point("overdue", "watchdog", {"seconds": 3.0})
    cell.complete(call)
    finding = _ask(NoHang(), cell)
    assert finding.evidence == (0, told, len(cell.rows) - 1)


def test_a_hang_that_the_machine_may_explain_keeps_its_evidence() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.now_s = 11.0
    cell.point("stall", "watchdog", {"seconds": 3.0, "host": True})
    cell.complete(call)
    finding = _ask(NoHang(), cell)
    shows(finding, Verdict.INVALID)
    assert finding.evidence == _rows(cell, call)
    assert "stood still for 3.0 s" in finding.summary
    assert finding.details["host"] is True


@pytest.mark.parametrize(("stood_s", "verdict"), [(0.5, Verdict.INVALID), (0.25, Verdict.SLOW)])
def test_a_stall_that_brings_the_call_back_to_the_bound_makes_it_doubtful(stood_s: float, verdict: Verdict) -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.now_s = 5.0
    cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    cell.now_s = 10.5
    cell.complete(call)
    shows(_ask(NoHang(), cell), verdict)


# -- recovers -----------------------------------------------------------------------------------------------------


def _healed() -> MadeCell:
    """A gate, a window from 2 s to 4 s, and the other group served at once."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 2.0
    cell.strike()
    cell.now_s = 4.0
    cell.heal()
    cell.call("turn", "t8", thread=f"{AGENT}.u2.0", group="g1", took_s=0.0)
    return cell


def _asked(cell: MadeCell, at_s: float, turn: str, **more: Any) -> int:
    cell.now_s = at_s
    return cell.call("turn", turn, thread=f"{AGENT}.u1.0", group="g0", **more)


@pytest.mark.parametrize(
    ("answered_s", "verdict"),
    [(4.0, Verdict.PASS), (7.0, Verdict.PASS), (7.5, Verdict.SLOW), (13.0, Verdict.SLOW), (13.5, Verdict.FAIL)],
)
def test_the_first_answer_may_come_by_the_bound(answered_s: float, verdict: Verdict) -> None:
    cell = _healed()
    call = _asked(cell, 4.0, "t9", took_s=answered_s - 4.0)
    cell.end()
    finding = _ask(Recovers(), cell)
    shows(finding, verdict)
    assert finding.details["recovery_s"] == answered_s - 4.0
    assert finding.details["bound_s"] == 3.0
    assert finding.evidence == (() if verdict is Verdict.PASS else _rows(cell, call)[1:])


def test_a_failure_after_the_first_answer_counts_and_carries_its_rows() -> None:
    cell = _healed()
    _asked(cell, 4.5, "t9", took_s=0.0)
    bad = _asked(cell, 9.0, "t10", status="info", took_s=0.5)
    _asked(cell, 10.0, "t11", took_s=0.0)
    cell.end()
    finding = _ask(Recovers(), cell)
    shows(finding, Verdict.SLOW)
    assert finding.evidence == _rows(cell, bad)
    assert finding.details["recovery_s"] == 5.5
    assert "no answer followed" not in finding.summary


def test_a_call_that_began_inside_the_damage_may_fail_later_and_one_that_began_at_the_heal_may_not() -> None:
    for began_s, verdict in ((3.9, Verdict.PASS), (4.0, Verdict.SLOW)):
        cell = MadeCell()
        cell.gate()
        cell.now_s = 2.0
        cell.strike()
        cell.now_s = began_s
        if began_s < 4.0:
            call = cell.begin("turn", "t9", thread=f"{AGENT}.u1.0")
        cell.now_s = 4.0
        cell.heal()
        if began_s == 4.0:
            call = cell.begin("turn", "t9", thread=f"{AGENT}.u1.0")
        cell.call("turn", "t8", thread=f"{AGENT}.u2.0", group="g1", took_s=0.0)
        cell.call("turn", "t7", thread=f"{AGENT}.u3.0", took_s=0.0)
        cell.now_s = 8.0
        cell.complete(call, OpType.INFO, {}, OPERATIONAL)
        cell.now_s = 8.5
        cell.call("turn", "t6", thread=f"{AGENT}.u3.0", took_s=0.0)
        cell.end()
        shows(_ask(Recovers(), cell), verdict)


@pytest.mark.parametrize(
    ("stop_s", "stood_s", "verdict"),
    [
        (7.0, 0.0, Verdict.INVALID),
        (7.5, 0.0, Verdict.FAIL),
        (8.0, 1.0, Verdict.INVALID),
        (8.0, 0.5, Verdict.FAIL),
    ],
)
def test_an_agent_that_never_answers_again(stop_s: float, stood_s: float, verdict: Verdict) -> None:
    cell = _healed()
    bad = _asked(cell, 4.5, "t9", status="info", took_s=0.5)
    cell.now_s = 6.0
    if stood_s:
        cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    cell.now_s = stop_s
    cell.end()
    finding = _ask(Recovers(), cell)
    shows(finding, verdict)
    assert finding.evidence == _rows(cell, bad)
    assert finding.summary.startswith((f"g0/{AGENT}", "driving ended"))
    assert ("host" in finding.details) == (stood_s == 1.0)
    if verdict is Verdict.FAIL:
        assert "1 calls" in finding.summary
    if stood_s == 1.0:
        assert "stood still for 1.0 s" in finding.summary


def test_every_call_that_was_not_answered_is_counted() -> None:
    cell = _healed()
    for number in range(3):
        _asked(cell, 4.5 + number, f"t{number}", status="info", took_s=0.5)
    cell.now_s = 8.0
    cell.end()
    assert f"g0/{AGENT} never answered again: 3 calls in 4.0 s" in _ask(Recovers(), cell).summary


def test_an_agent_that_was_not_asked_again_shows_nothing() -> None:
    cell = _healed()
    bad = _asked(cell, 5.0, "t9", status="info", took_s=0.5)
    cell.end()
    shows(_ask(Recovers(), cell), Verdict.INVALID)
    _asked(cell, 5.6, "t10", took_s=0.1)
    shows(_ask(Recovers(), cell), Verdict.PASS)
    again = _asked(cell, 5.8, "t11", status="info", took_s=0.1)
    finding = _ask(Recovers(), cell)
    shows(finding, Verdict.INVALID)
    assert finding.evidence == _rows(cell, again) != _rows(cell, bad)


@pytest.mark.parametrize(("stood_s", "verdict"), [(0.5, Verdict.INVALID), (0.25, Verdict.SLOW)])
def test_lateness_that_the_machine_explains_decides_nothing(stood_s: float, verdict: Verdict) -> None:
    cell = _healed()
    cell.now_s = 6.0
    cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    call = _asked(cell, 4.5, "t9", took_s=3.0)
    cell.end()
    finding = _ask(Recovers(), cell)
    shows(finding, verdict)
    assert finding.summary.startswith(f"g0/{AGENT}")
    assert finding.evidence == _rows(cell, call)[1:]
    assert ("host" in finding.details) == (verdict is Verdict.INVALID)


def test_nothing_to_recover_from() -> None:
    cell = MadeCell()
    cell.gate()
    shows(_ask(Recovers(), cell), Verdict.PASS)


# -- available, declared_errors -----------------------------------------------------------------------------------


def _failed_at(began_s: float, *, usable: bool, error: ErrorInfo = OPERATIONAL) -> tuple[MadeCell, int]:
    """A window from 2 s to 4 s, and a call that fails at once at ``began_s``."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 2.0
    cell.strike(usable=usable)
    cell.now_s = 4.0
    cell.heal()
    cell.now_s = began_s
    call = cell.call("turn", "t9", status="info", error=error, took_s=0.0)
    return cell, call


@pytest.mark.parametrize(
    ("began_s", "verdict"), [(7.0, Verdict.PASS), (7.5, Verdict.SLOW), (13.0, Verdict.SLOW), (13.5, Verdict.FAIL)]
)
def test_what_touches_the_recovery_bound_is_excused(began_s: float, verdict: Verdict) -> None:
    cell, call = _failed_at(began_s, usable=False)
    for checker in (Available(), DeclaredErrors()):
        finding = _ask(checker, cell)
        shows(finding, verdict)
        assert finding.evidence == (() if verdict is Verdict.PASS else _rows(cell, call))


def test_damage_that_leaves_the_database_usable_excuses_declared_errors_alone() -> None:
    for began_s, verdict in ((7.0, Verdict.PASS), (7.5, Verdict.SLOW), (13.5, Verdict.FAIL)):
        cell, _ = _failed_at(began_s, usable=True)
        shows(_ask(DeclaredErrors(), cell), verdict)
        shows(_ask(Available(), cell), Verdict.FAIL)


def test_an_undeclared_error_carries_its_rows() -> None:
    cell, call = _failed_at(4.0, usable=False, error=FOREIGN)
    finding = _ask(DeclaredErrors(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == _rows(cell, call)


def test_errors_are_counted_in_words() -> None:
    cell, _ = _failed_at(4.0, usable=False)
    assert _ask(DeclaredErrors(), cell).summary.startswith("1 errors at callers in 3 calls")


def test_answered_calls_are_counted_in_words() -> None:
    cell, _ = _failed_at(4.0, usable=False)
    cell.call("turn", "t10")
    assert _ask(Available(), cell).summary == "all 3 calls that had to be answered were answered"


def test_a_timeout_in_which_the_machine_stood_still_decides_nothing() -> None:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 5.0
    call = cell.begin("turn", "t9")
    cell.now_s = 6.0
    cell.point("stall", "watchdog", {"seconds": 0.5, "host": True})
    cell.complete(call, OpType.INFO, {}, TIMEOUT)
    for checker in (Available(), DeclaredErrors()):
        finding = _ask(checker, cell)
        shows(finding, Verdict.INVALID)
        assert "the machine stood still while" in finding.summary
        assert finding.details["host"] is True


def test_a_stall_counts_up_to_the_default_deadline_if_the_row_gives_none() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1", deadline_s=None)
    cell.now_s = 9.0
    cell.point("stall", "watchdog", {"seconds": 0.75, "host": True})
    cell.now_s = 10.5
    cell.complete(call)
    shows(_ask(NoHang(), cell), Verdict.INVALID)


def test_an_open_call_is_judged_by_the_default_deadline_if_its_row_gives_none() -> None:
    cell = MadeCell()
    cell.gate()
    cell.begin("turn", "t9", deadline_s=None)
    cell.now_s += BOUNDS.deadline_s
    cell.point("log", "x", {})
    shows(_ask(Available(), cell), Verdict.PASS)
    cell.now_s += 0.5
    cell.point("log", "x", {})
    shows(_ask(Available(), cell), Verdict.FAIL)
