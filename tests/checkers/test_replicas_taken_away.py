"""A replica's process that a fault took away: what shows that it acted, and whom it excuses."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.available import Available
from harness.checkers.declared_errors import DeclaredErrors
from harness.checkers.exercised import Exercised
from harness.checkers.timeline import timeline
from harness.core.history import ErrorInfo
from harness.core.verdict import Json, Verdict
from harness.driving.replica_link import lost
from tests.checkers.made_histories import BOUNDS, MadeCell, shows

KILLED: dict[str, Json] = {"group": "g0", "pid": 7, "signal": "SIGKILL", "in_flight": 2, "status": -9}
FROZEN: dict[str, Json] = {"group": "g0", "pid": 7, "signal": "SIGSTOP", "in_flight": 2, "state": "T"}
DRAINED: dict[str, Json] = {"group": "g0", "pid": 7, "signal": "SIGTERM", "in_flight": 2, "status": 0}


def lost_call(cell: MadeCell, group: str = "g0", *, how: str = "reset", ordered: bool = True) -> None:
    ending = lost(how, ordered=ordered)
    thread = f"agent.u5.{len(cell.rows)}"
    cell.call(thread=thread, group=group, status=ending.kind.value, error=ending.error, value=ending.value)


def window(effect: str, *processes: Json, lose: dict[str, Any] | None = None) -> MadeCell:
    """A whole cell with one window from 3 to 6 s; a call is lost in it, as ``lose`` has it."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(effect=effect, usable=True)
    if lose is not None:
        lost_call(cell, **lose)
    cell.now_s = 6.0
    cell.heal(processes=[*processes])
    cell.everybody(round_=2)
    return cell


@pytest.mark.parametrize("process", [KILLED, FROZEN])
def test_a_process_that_died_or_stood_still_with_calls_that_it_never_answered_is_seen(process: Json) -> None:
    cell = window("strands", process, lose={})
    cell.end()
    shows(Exercised().check(cell.history, cell.facts(), BOUNDS), Verdict.PASS)


@pytest.mark.parametrize(
    ("processes", "lose", "words"),
    [
        ([], {}, "neither ended nor stopped a process"),
        (["nonsense"], {}, "neither ended nor stopped a process"),
        ([{**KILLED, "in_flight": 0}], {}, "neither ended nor stopped a process"),
        ([{**KILLED, "status": 0}], {}, "neither ended nor stopped a process"),
        ([{**FROZEN, "state": "S"}], {}, "neither ended nor stopped a process"),
        ([KILLED], None, "stranded nobody"),
        ([KILLED], {"ordered": False}, "stranded nobody"),
    ],
)
def test_anything_less_proves_nothing(processes: list[Json], lose: dict[str, Any] | None, words: str) -> None:
    cell = window("strands", *processes, lose=lose)
    cell.end()
    finding = Exercised().check(cell.history, cell.facts(), BOUNDS)
    shows(finding, Verdict.INVALID, "V3")
    assert words in finding.summary


@pytest.mark.parametrize(
    ("process", "verdict"),
    [
        (DRAINED, Verdict.PASS),
        ({**DRAINED, "status": -9}, Verdict.INVALID),
        ({**DRAINED, "in_flight": 0}, Verdict.INVALID),
    ],
)
def test_a_drained_process_had_calls_and_ended_by_itself(process: Json, verdict: Verdict) -> None:
    cell = window("drains", process)
    cell.end()
    shows(
        Exercised().check(cell.history, cell.facts(), BOUNDS), verdict, *(["V3"] if verdict is Verdict.INVALID else [])
    )


def available(cell: MadeCell) -> Verdict:
    cell.end()
    return Available().check(cell.history, cell.facts(), BOUNDS).verdict


def test_a_call_that_was_lost_with_its_replica_is_excused() -> None:
    assert available(window("strands", KILLED, lose={})) is Verdict.PASS


def test_a_replica_that_was_taken_away_has_the_recovery_bound_to_come_back_and_the_others_have_none() -> None:
    for group, verdict in (("g0", Verdict.PASS), ("g1", Verdict.FAIL)):
        cell = window("strands", KILLED, lose={})
        cell.now_s = 6.5
        cell.call(thread="agent.u6.0", group=group, status="info")
        assert available(cell) is verdict, group


def test_it_is_slow_within_three_bounds_and_broken_after_that() -> None:
    for late_s, verdict in ((2 * BOUNDS.recover_s, Verdict.SLOW), (4 * BOUNDS.recover_s, Verdict.FAIL)):
        cell = window("strands", KILLED, lose={})
        cell.now_s = 6.0 + late_s
        cell.call(thread="agent.u6.0", group="g0", status="info")
        assert available(cell) is verdict


@pytest.mark.parametrize(
    "lose", [{"ordered": False}, {"how": "refused", "ordered": False}, {"group": "g1", "ordered": False}]
)
def test_what_nobody_ordered_excuses_nobody(lose: dict[str, Any]) -> None:
    assert available(window("drains", DRAINED, lose=lose)) is Verdict.FAIL


def test_a_drained_replica_owes_every_call_an_answer() -> None:
    cell = window("drains", DRAINED)
    cell.now_s = 6.5
    cell.call(thread="agent.u6.0", group="g0", status="info")
    assert available(cell) is Verdict.FAIL


@pytest.mark.parametrize("how", ["reset", "no_answer", "refused"])
def test_what_the_callers_client_says_is_declared_for_every_strategy(how: str) -> None:
    cell = window("strands", KILLED, lose={"how": how})
    cell.end()
    shows(DeclaredErrors().check(cell.history, cell.facts(), BOUNDS), Verdict.PASS)
    error = lost(how, ordered=True).error
    assert isinstance(error, ErrorInfo)
    assert "OSError" in error.classes


def test_the_timeline_shows_what_happened_to_the_processes() -> None:
    cell = window("strands", KILLED, lose={})
    cell.point("replica", "g0", {"event": "signal", "pid": 7, "signal": "SIGKILL", "in_flight": 2})
    cell.point("replica", "g0", {"event": "ended", "pid": 7, "status": -9})
    cell.point("replica", "g0", {"event": "started", "pid": 8})
    cell.point("replica", "g0", {"event": "late_answer", "of": 1, "kind": "ok"})
    cell.end()
    shown = [(mark.kind, mark.text) for mark in timeline(cell.history).marks if mark.kind.startswith("replica")]
    assert shown == [
        ("replica_down", "g0 (pid 7) was sent SIGKILL with 2 calls"),
        ("replica_down", "g0 (pid 7) ended with status -9"),
        ("replica_up", "g0 (pid 8) started"),
    ]
