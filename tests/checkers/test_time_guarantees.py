"""available, recovers, no_hang, declared_errors: windows, bounds, SLOW before FAIL, and machines that stood still."""

from __future__ import annotations

import dataclasses

import pytest

from harness.checkers.available import Available
from harness.checkers.declared_errors import DeclaredErrors
from harness.checkers.no_hang import NoHang
from harness.checkers.recovers import Recovers
from harness.core.facts import Facts
from harness.core.verdict import Checker, Finding, Verdict
from tests.checkers.made_histories import BOUNDS, CLOSED, OPERATIONAL, TIMEOUT, MadeCell, shows

OTHER = "SupervisorAgent.u1.0"


def _check(checker: Checker, cell: MadeCell) -> Finding:
    return checker.check(cell.history, Facts(), BOUNDS)


def _struck(*, usable: bool = False, until_s: float = 6.0) -> MadeCell:
    """A gate, then a window from 3 s to ``until_s``; no call is open when it returns."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(usable=usable)
    cell.now_s = until_s
    cell.heal()
    return cell


@pytest.mark.parametrize(
    "checker", [Available(), NoHang(), DeclaredErrors()], ids=lambda checker: checker.guarantee.value
)
def test_nobody_called_proves_nothing(checker: Checker) -> None:
    shows(_check(checker, MadeCell()), Verdict.INVALID)


# -- available ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["refused", "info", "fail"])
def test_available_without_any_damage(status: str) -> None:
    cell = MadeCell()
    cell.gate()
    shows(_check(Available(), cell), Verdict.PASS)
    cell.call("turn", "t2", status=status)
    finding = _check(Available(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (len(cell.rows) - 2, len(cell.rows) - 1)


@pytest.mark.parametrize(
    ("began_s", "verdict"),
    [(1.0, Verdict.FAIL), (2.95, Verdict.PASS), (4.0, Verdict.PASS), (8.9, Verdict.PASS), (9.1, Verdict.SLOW),
     (14.9, Verdict.SLOW), (15.1, Verdict.FAIL)],
)  # fmt: skip
def test_available_around_a_window_from_3_to_6_s(began_s: float, verdict: Verdict) -> None:
    cell = MadeCell()
    cell.gate()
    rows = [(began_s, "call"), (3.0, "strike"), (6.0, "heal")]
    for at_s, what in sorted(rows):
        cell.now_s = max(at_s, cell.now_s)
        if what == "call":
            cell.call("turn", "t9", status="info", took_s=0.1)
        else:
            getattr(cell, what)()
    shows(_check(Available(), cell), verdict)


def test_damage_that_leaves_the_database_usable_excuses_nothing() -> None:
    cell = MadeCell()
    cell.gate()
    cell.strike(usable=True, kind="latency", effect="delays")
    cell.call("turn", "t9", status="refused")
    shows(_check(Available(), cell), Verdict.FAIL)


def test_a_call_that_reaches_into_the_damage_is_excused() -> None:
    cell = MadeCell()
    cell.gate()
    call = cell.begin("turn", "t9")
    cell.now_s += 1.0
    cell.strike()
    cell.now_s += 1.0
    cell.heal()
    cell.now_s += 60.0
    cell.complete(call, value={"refused": True})
    shows(_check(Available(), cell), Verdict.PASS)


def test_an_open_call_counts_once_its_deadline_has_passed() -> None:
    cell = MadeCell()
    cell.gate()
    cell.begin("turn", "t9")
    cell.now_s += 7.9
    cell.phase("end")
    shows(_check(Available(), cell), Verdict.PASS)
    cell.now_s += 0.2
    cell.phase("later")
    shows(_check(Available(), cell), Verdict.FAIL)


@pytest.mark.parametrize(
    ("error", "verdict"), [(TIMEOUT, Verdict.INVALID), (CLOSED, Verdict.FAIL), (OPERATIONAL, Verdict.FAIL)]
)
def test_a_machine_that_stood_still_explains_timeouts_only(error: object, verdict: Verdict) -> None:
    cell = MadeCell()
    cell.gate()
    cell.call("turn", "t9", status="info", error=error, took_s=2.0)  # type: ignore[arg-type]
    cell.point("stall", "watchdog", {"seconds": 0.5, "host": True})
    shows(_check(Available(), cell), verdict)


def test_a_loop_that_stood_still_explains_nothing() -> None:
    cell = MadeCell()
    cell.gate()
    cell.call("turn", "t9", status="info", error=TIMEOUT, took_s=2.0)
    cell.point("stall", "watchdog", {"seconds": 0.5, "host": False})
    shows(_check(Available(), cell), Verdict.FAIL)


# -- recovers -----------------------------------------------------------------------------------------------------


def test_nothing_to_recover_from() -> None:
    cell = MadeCell()
    cell.gate()
    finding = _check(Recovers(), cell)
    shows(finding, Verdict.PASS)
    assert "nothing to recover from" in finding.summary


def _answers_at(cell: MadeCell, *times_s: float, group: str = "g0") -> None:
    for number, time_s in enumerate(times_s):
        cell.now_s = max(time_s - 0.05, cell.now_s)
        cell.call("turn", f"t{number + 20}", thread=OTHER if group == "g0" else f"{OTHER}1", group=group, took_s=0.05)


@pytest.mark.parametrize(
    ("after_s", "verdict"),
    [(0.5, Verdict.PASS), (2.9, Verdict.PASS), (3.2, Verdict.SLOW), (8.9, Verdict.SLOW), (9.2, Verdict.FAIL)],
)
def test_the_first_answer_of_each_agent(after_s: float, verdict: Verdict) -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    _answers_at(cell, 6.0 + after_s, 6.1 + after_s, group="g1")
    cell.now_s = 20.0
    cell.end()
    finding = _check(Recovers(), cell)
    shows(finding, verdict)
    if verdict is not Verdict.PASS:
        assert "g1/SupervisorAgent" in finding.summary


@pytest.mark.parametrize("late_s", [0.5, 2.9, 3.5, 9.5])
def test_a_later_failure_of_a_call_begun_after_the_heal(late_s: float) -> None:
    cell = _struck()
    _answers_at(cell, 6.1)
    _answers_at(cell, 6.2, group="g1")
    cell.now_s = max(cell.now_s, 6.0 + late_s - 0.1)
    cell.call("turn", "t30", thread=OTHER, status="refused", took_s=0.1)
    _answers_at(cell, 6.0 + late_s + 0.2)
    cell.now_s = 20.0
    cell.end()
    verdict = Verdict.PASS if late_s <= 3 else Verdict.SLOW if late_s <= 9 else Verdict.FAIL
    shows(_check(Recovers(), cell), verdict)


def test_a_call_begun_inside_the_damage_may_use_up_its_deadline() -> None:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike()
    call = cell.begin("turn", "t9")
    cell.now_s = 6.0
    cell.heal()
    _answers_at(cell, 6.1)
    _answers_at(cell, 6.2, group="g1")
    cell.now_s = 11.0
    cell.complete(call, value={"refused": True})
    cell.end()
    shows(_check(Recovers(), cell), Verdict.PASS)


def test_an_agent_that_never_recovers() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    for number in range(8):
        cell.now_s = 7.0 + number
        cell.call("turn", f"t{number + 50}", thread=OTHER, group="g1", status="refused", took_s=0.1)
    cell.end()
    finding = _check(Recovers(), cell)
    shows(finding, Verdict.FAIL)
    assert "never answered again" in finding.summary


def test_an_agent_whose_last_call_failed_has_not_recovered() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    _answers_at(cell, 6.3, group="g1")
    cell.now_s = 10.0
    cell.call("turn", "t60", thread=OTHER, status="refused", took_s=0.1)
    cell.end()
    finding = _check(Recovers(), cell)
    shows(finding, Verdict.FAIL)
    assert "no answer followed" in finding.summary


def test_an_agent_whose_last_call_failed_within_the_bound_shows_nothing() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    _answers_at(cell, 6.3, group="g1")
    cell.call("turn", "t60", thread=OTHER, status="refused", took_s=0.1)
    cell.end()
    shows(_check(Recovers(), cell), Verdict.INVALID)


def test_driving_that_ended_before_the_bound_decides_nothing() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    cell.call("turn", "t60", thread=f"{OTHER}1", group="g1", status="refused", took_s=0.1)
    cell.now_s = 8.0
    cell.end()
    shows(_check(Recovers(), cell), Verdict.INVALID)


def test_an_agent_that_was_not_asked_again_decides_nothing() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    cell.now_s = 12.0
    cell.end()
    finding = _check(Recovers(), cell)
    shows(finding, Verdict.INVALID)
    assert "g1/SupervisorAgent was not asked again" in finding.summary


def test_late_because_the_machine_stood_still() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    cell.now_s = 9.0
    cell.point("stall", "watchdog", {"seconds": 2.5, "host": True})
    _answers_at(cell, 9.4, group="g1")
    cell.now_s = 12.0
    cell.end()
    shows(_check(Recovers(), cell), Verdict.INVALID)


def test_the_last_of_several_windows_counts() -> None:
    cell = _struck()
    _answers_at(cell, 6.2)
    cell.now_s = 9.0
    cell.strike(1)
    cell.now_s = 10.0
    cell.heal(1)
    _answers_at(cell, 12.0)
    _answers_at(cell, 12.5, group="g1")
    cell.end()
    finding = _check(Recovers(), cell)
    shows(finding, Verdict.PASS)
    assert finding.details["recovery_s"] == pytest.approx(2.5)


# -- no_hang ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("took_s", "verdict"),
    [(8.0, Verdict.PASS), (9.9, Verdict.PASS), (10.1, Verdict.SLOW), (19.9, Verdict.SLOW), (20.1, Verdict.FAIL)],
)
@pytest.mark.parametrize("status", ["ok", "info", "refused", "open"])
def test_how_long_after_its_deadline(took_s: float, verdict: Verdict, status: str) -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status=status, took_s=took_s)
    cell.phase("end")
    shows(_check(NoHang(), cell), verdict)


def test_the_call_s_own_deadline_counts() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", took_s=5.0, deadline_s=2.0)
    shows(_check(NoHang(), cell), Verdict.SLOW)


def test_a_call_that_the_harness_had_to_end_is_a_hang() -> None:
    cell = MadeCell()
    cell.begin("turn", "t1")
    cell.now_s = 10.2
    told = cell.point("overdue", "watchdog", {"call": 1, "seconds": 2.1, "stack": ""})
    cell.now_s = 19.99
    cell.complete(1, value={"hung": True})
    finding = _check(NoHang(), cell)
    shows(finding, Verdict.FAIL)
    assert told.index in finding.evidence
    assert "hung" in finding.summary


@pytest.mark.parametrize(
    ("took_s", "stood_s", "verdict"),
    [(10.5, 0.4, Verdict.SLOW), (10.5, 0.6, Verdict.INVALID), (20.5, 0.4, Verdict.FAIL), (20.5, 5.0, Verdict.INVALID)],
)
def test_a_hang_while_the_machine_stood_still(took_s: float, stood_s: float, verdict: Verdict) -> None:
    cell = MadeCell()
    cell.call("turn", "t1", took_s=took_s)
    cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    shows(_check(NoHang(), cell), verdict)


@pytest.mark.parametrize(("stood_s", "verdict"), [(0.5, Verdict.FAIL), (4.0, Verdict.INVALID)])
def test_a_short_stall_does_not_make_a_hang_doubtful(stood_s: float, verdict: Verdict) -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.now_s = 20.05
    cell.complete(call, value={"hung": True})
    cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    shows(_check(NoHang(), cell), verdict)


# -- declared_errors ----------------------------------------------------------------------------------------------


def test_a_declared_error_around_damage() -> None:
    cell = _struck()
    cell.now_s = 8.0
    cell.call("turn", "t9", status="info", error=OPERATIONAL)
    shows(_check(DeclaredErrors(), cell), Verdict.PASS)


@pytest.mark.parametrize("at_s", [4.0, 8.0, 30.0])
def test_an_undeclared_error_anywhere(at_s: float) -> None:
    cell = _struck(until_s=4.0 if at_s < 5 else 6.0)
    cell.now_s = at_s
    cell.call("turn", "t9", status="fail", error=dataclasses.replace(OPERATIONAL, type="IndexError", declared=False))
    finding = _check(DeclaredErrors(), cell)
    shows(finding, Verdict.FAIL)
    assert "IndexError" in finding.summary


@pytest.mark.parametrize(("at_s", "verdict"), [(8.9, Verdict.PASS), (9.1, Verdict.SLOW), (15.1, Verdict.FAIL)])
def test_a_declared_error_after_the_bound(at_s: float, verdict: Verdict) -> None:
    cell = _struck()
    cell.now_s = at_s
    cell.call("turn", "t9", status="info", error=OPERATIONAL)
    shows(_check(DeclaredErrors(), cell), verdict)


def test_a_declared_error_in_damage_that_leaves_the_database_usable_is_for_available_to_judge() -> None:
    cell = MadeCell()
    cell.gate()
    cell.strike(usable=True)
    cell.call("turn", "t9", status="info", error=OPERATIONAL)
    cell.heal()
    shows(_check(DeclaredErrors(), cell), Verdict.PASS)


def test_a_refusal_is_no_error_and_neither_is_the_harness_s_own_cancellation() -> None:
    cell = MadeCell()
    cell.gate()
    cell.call("turn", "t8", status="refused")
    cell.call("turn", "t9", status="info", error=TIMEOUT, value={"hung": True})
    shows(_check(DeclaredErrors(), cell), Verdict.PASS)
    cell.call("turn", "t9", status="info", error=TIMEOUT)
    shows(_check(DeclaredErrors(), cell), Verdict.FAIL)
