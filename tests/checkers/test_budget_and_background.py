"""connection_budget and clean_background."""

from __future__ import annotations

import pytest

from harness.checkers.clean_background import CleanBackground
from harness.checkers.connection_budget import ConnectionBudget
from harness.core.facts import Facts
from harness.core.verdict import Finding, Verdict
from tests.checkers.made_histories import BOUNDS, MadeCell, shows

OVER = range(100, 100 + BOUNDS.budget + 1)
FULL = range(100, 100 + BOUNDS.budget)


def _budget(cell: MadeCell, facts: Facts | None = None) -> Finding:
    return ConnectionBudget().check(cell.history, facts or Facts(leftover_backends={"g0": 0, "g1": 0}), BOUNDS)


def _background(cell: MadeCell) -> Finding:
    return CleanBackground().check(cell.history, Facts(), BOUNDS)


def _gate() -> MadeCell:
    cell = MadeCell()
    cell.gate()
    return cell


def test_up_to_the_budget() -> None:
    cell = _gate()
    cell.sample(g0=FULL, g1=FULL)
    cell.now_s += 1.0
    cell.sample(g0=[], g1=[])
    finding = _budget(cell)
    shows(finding, Verdict.PASS)
    assert finding.details["peaks"] == {"g0": BOUNDS.budget, "g1": BOUNDS.budget}


@pytest.mark.parametrize(
    ("stood_s", "verdict"), [(0.1, Verdict.PASS), (0.29, Verdict.PASS), (0.31, Verdict.FAIL), (2.0, Verdict.FAIL)]
)
def test_only_what_two_samples_200_ms_apart_show(stood_s: float, verdict: Verdict) -> None:
    cell = _gate()
    cell.sample(g0=OVER, g1=[1])
    cell.now_s += stood_s
    cell.sample(g0=[1], g1=[1])
    shows(_budget(cell), verdict)


def test_changing_pids_above_the_budget_still_stand_above_it() -> None:
    cell = _gate()
    for number in range(4):
        cell.sample(g0=range(number, number + BOUNDS.budget + 1), g1=[1])
        cell.now_s += 0.1
    finding = _budget(cell)
    shows(finding, Verdict.FAIL)
    assert "group g0 held 25 backends" in finding.summary
    assert "budget is 24" in finding.summary


def test_a_failed_sample_proves_nothing_about_what_stood() -> None:
    cell = _gate()
    cell.sample(g0=OVER, g1=[1])
    cell.now_s += 0.1
    cell.point("connections", "sampler", {"error": "OperationalError: x"})
    cell.now_s += 0.4
    cell.sample(g0=[1], g1=[1])
    shows(_budget(cell), Verdict.PASS)


@pytest.mark.parametrize(("holds", "verdict"), [(True, Verdict.PASS), (False, Verdict.FAIL)])
def test_a_black_hole_holds_connections_until_it_heals(holds: bool, verdict: Verdict) -> None:
    cell = _gate()
    cell.strike(holds_connections=holds)
    cell.now_s += 0.5
    cell.sample(g0=OVER, g1=[1])
    cell.now_s += 3.0
    cell.heal()
    cell.now_s += 0.3
    cell.sample(g0=[1], g1=[1])
    shows(_budget(cell), verdict)


def test_what_still_stands_after_the_black_hole_counts() -> None:
    cell = _gate()
    cell.strike(holds_connections=True)
    cell.sample(g0=OVER, g1=[1])
    cell.now_s += 1.0
    cell.heal()
    cell.now_s += 1.5
    cell.sample(g0=[1], g1=[1])
    shows(_budget(cell), Verdict.FAIL)


def test_what_is_left_after_tear_down() -> None:
    finding = _budget(_gate(), Facts(leftover_backends={"g0": 2}))
    shows(finding, Verdict.FAIL)
    assert "2 backends of group g0 were left" in finding.summary


def test_no_samples_prove_nothing() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    shows(_budget(cell), Verdict.INVALID, "V13")


def test_samples_that_never_saw_a_group_prove_nothing() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", group="g0")
    cell.sample(g0=[], g1=[1])
    finding = _budget(cell)
    shows(finding, Verdict.INVALID, "V13")
    assert "g0" in finding.summary


def test_a_quiet_background() -> None:
    cell = _gate()
    cell.point("background", "loop", {"what": "destroyed_pending", "text": "task of the harness", "ours": True})
    cell.point("stall", "watchdog", {"seconds": 0.45, "host": False})
    shows(_background(cell), Verdict.PASS)


def test_nobody_called_proves_nothing() -> None:
    shows(_background(MadeCell()), Verdict.INVALID)


@pytest.mark.parametrize("what", ["exception_handler", "never_awaited", "unraisable", "destroyed_pending"])
def test_noise(what: str) -> None:
    cell = _gate()
    row = cell.point("background", "loop", {"what": what, "text": "coroutine 'x' was never awaited", "ours": False})
    finding = _background(cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (row.index,)


def test_noise_after_the_harness_killed_a_hung_call_is_not_judged() -> None:
    cell = _gate()
    call = cell.begin("turn", "t9")
    cell.complete(call, value={"hung": True})
    cell.point("background", "loop", {"what": "exception_handler", "text": "x", "ours": False})
    finding = _background(cell)
    shows(finding, Verdict.PASS)
    assert finding.details["after_a_kill"] == 1


@pytest.mark.parametrize(
    ("gate_s", "stall_s", "verdict"),
    [(0.0, 0.5, Verdict.PASS), (0.0, 0.51, Verdict.FAIL), (0.3, 0.89, Verdict.PASS), (0.3, 0.91, Verdict.FAIL)],
)
def test_stalls_against_the_gate_s_longest(gate_s: float, stall_s: float, verdict: Verdict) -> None:
    cell = MadeCell()
    cell.phase("gate")
    cell.now_s = 2.0
    cell.call("turn", "t1")
    if gate_s:
        cell.point("stall", "watchdog", {"seconds": gate_s, "host": False})
    cell.phase("drive")
    cell.now_s += 2.0
    cell.point("stall", "watchdog", {"seconds": stall_s, "host": False})
    shows(_background(cell), verdict)


def test_a_stall_while_the_machine_stood_still_or_nobody_called_is_nobody_s() -> None:
    cell = _gate()
    cell.now_s += 3.0
    cell.point("stall", "watchdog", {"seconds": 2.0, "host": True})
    cell.point("stall", "watchdog", {"seconds": 2.1, "host": False})
    cell.end()
    cell.now_s += 3.0
    cell.point("stall", "watchdog", {"seconds": 2.0, "host": False})
    shows(_background(cell), Verdict.PASS)
