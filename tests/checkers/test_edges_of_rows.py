"""Rows that are odd, incomplete or side by side: no checker stumbles, and what they say is taken as they say it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.checkers import vacuity
from harness.checkers.available import Available
from harness.checkers.clean_background import CleanBackground
from harness.checkers.effects import unseen
from harness.checkers.exercised import Exercised
from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_hang import NoHang
from harness.checkers.no_lost_turn import NoLostTurn
from harness.checkers.no_silent_failure import NoSilentFailure
from harness.checkers.reading import Reading, number
from harness.checkers.recovers import Recovers
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.verdict import Checker, Finding, Json, Verdict
from tests.checkers.made_histories import AGENT, BOUNDS, CANCELLED, OPERATIONAL, THREAD, MadeCell, shows, turns_of

STOPPED = ErrorInfo("Stopped", "", ("Stopped", "CancelledError", "BaseException"))


def _ask(checker: Checker, cell: MadeCell, facts: Facts | None = None) -> Finding:
    return checker.check(cell.history, cell.facts() if facts is None else facts, BOUNDS)


# -- a reading ----------------------------------------------------------------------------------------------------


def test_a_history_ends_with_its_last_row() -> None:
    assert Reading(History()).end_s == 0.0
    assert Reading(History([Op(0, 5.0, OpType.INFO, "log", "x", None, {})])).end_s == 5.0


@pytest.mark.parametrize("found", [float("inf"), float("-inf"), float("nan"), 10**400, True, "3", None])
def test_what_is_no_finite_number_is_the_default(found: Any) -> None:
    assert number({"a": found}, "a", 7.0) == 7.0


def test_a_completion_of_something_else_is_none() -> None:
    rows = [
        Op(0, 0.0, OpType.INVOKE, "turn", "u0", 1, {"thread": "t", "turn": "t/t1"}),
        Op(1, 1.0, OpType.OK, "aput", "g0/A", 1, {}),
        Op(2, 2.0, OpType.INVOKE, "turn", "u0", None, {"thread": "t", "turn": "t/t2"}),
    ]
    assert [call.status for call in Reading(History(rows)).calls] == ["open", "open"]


def test_pids_that_are_a_number_are_none() -> None:
    row = Op(0, 0.0, OpType.INFO, "connections", "sampler", None, {"backends": {"g0": 5}})
    (sample,) = Reading(History([row])).samples
    assert sample.backends == {"g0": frozenset()}


def test_a_window_that_was_not_healed_says_what_it_said_when_it_was_installed() -> None:
    cell = MadeCell()
    cell.strike(3)
    assert dict(Reading(cell.history).damages[0].change) == {"toxic": "reset_peer"}


def test_a_process_that_was_hardly_run_did_not_stand_still() -> None:
    cell = MadeCell()
    cell.now_s = 5.0
    cell.point("stall", "watchdog", {"seconds": 1.0, "host": True, "starved": True})
    cell.now_s = 9.0
    cell.point("stall", "watchdog", {"seconds": 2.0, "host": True})
    cell.point("stall", "watchdog", {"seconds": 3.0})
    reading = Reading(cell.history)
    assert list(reading.standstills) == [(7.0, 9.0)]
    assert list(reading.host_stalls) == [(4.0, 5.0), (7.0, 9.0)]


# -- checkers -----------------------------------------------------------------------------------------------------


def test_calls_that_never_ended_are_judged_by_the_history_s_end() -> None:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 2.0
    cell.strike()
    cell.now_s = 3.0
    cell.begin("turn", "t1")
    cell.now_s = 4.0
    cell.heal()
    cell.now_s = 30.0
    cell.phase("end")
    shows(_ask(Available(), cell), Verdict.PASS)
    shows(_ask(NoHang(), cell), Verdict.FAIL)


def test_a_call_that_ended_soon_did_not_hang_however_long_the_history_goes_on() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.now_s = 60.0
    cell.phase("end")
    shows(_ask(NoHang(), cell), Verdict.PASS)


@pytest.mark.parametrize(("stood_s", "verdict"), [(2.0, Verdict.FAIL), (2.5, Verdict.INVALID)])
def test_a_call_that_had_to_be_ended_hung_unless_the_machine_stood_still_for_long(
    stood_s: float, verdict: Verdict
) -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.now_s = 5.0
    cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    cell.now_s = 20.0
    cell.complete(call, OpType.INFO, {"hung": True}, CANCELLED)
    shows(_ask(NoHang(), cell), verdict)


def _healed() -> MadeCell:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 2.0
    cell.strike()
    cell.now_s = 4.0
    cell.heal()
    cell.call("turn", "t8", thread=f"{AGENT}.u2.0", group="g1", took_s=0.0)
    return cell


@pytest.mark.parametrize(("deadline_s", "verdict"), [(8.0, Verdict.FAIL), (None, Verdict.FAIL), (90.0, Verdict.FAIL)])
def test_an_agent_whose_only_call_never_ended_did_not_come_back(deadline_s: float | None, verdict: Verdict) -> None:
    cell = _healed()
    cell.now_s = 5.0
    cell.begin("turn", "t9", thread=f"{AGENT}.u1.0", deadline_s=deadline_s)
    cell.now_s = 20.0
    cell.end()
    finding = _ask(Recovers(), cell)
    shows(finding, verdict)
    assert len(finding.evidence) == (0 if deadline_s == 90.0 else 1), "a call within its deadline might be answered"


def test_an_agent_whose_last_call_never_ended_is_not_back() -> None:
    cell = _healed()
    cell.call("turn", "t7", thread=f"{AGENT}.u1.0", took_s=0.0)
    cell.begin("turn", "t9", thread=f"{AGENT}.u1.0", deadline_s=1.0)
    cell.now_s = 20.0
    cell.end()
    shows(_ask(Recovers(), cell), Verdict.FAIL)


def test_the_later_of_first_answer_and_last_failure_counts() -> None:
    cell = _healed()
    cell.call("turn", "t9", thread=f"{AGENT}.u1.0", status="info", took_s=0.5)
    cell.now_s = 7.5
    cell.call("turn", "t10", thread=f"{AGENT}.u1.0", took_s=0.0)
    cell.end()
    finding = _ask(Recovers(), cell)
    shows(finding, Verdict.SLOW)
    assert finding.details["recovery_s"] == 3.5


def test_stalls_count_from_the_gate_on_or_from_the_start() -> None:
    cell = MadeCell()
    cell.now_s = 2.0
    cell.point("stall", "watchdog", {"seconds": 0.75})
    cell.phase("gate")
    cell.phase("drive")
    cell.call("turn", "t1")
    cell.now_s = 2.0
    limit = _ask(CleanBackground(), cell)
    assert limit.details["longest_stall_s"] == 0.75, "one at the gate's very beginning is the gate's"
    cell = MadeCell()
    cell.now_s = 0.75
    cell.point("stall", "watchdog", {"seconds": 0.75})
    cell.phase("drive")
    cell.call("turn", "t1")
    assert _ask(CleanBackground(), cell).details["longest_stall_s"] == 0.75


# -- no_silent_failure --------------------------------------------------------------------------------------------


def _failed(status: OpType = OpType.INFO, *, save: ErrorInfo = OPERATIONAL, **saved: Any) -> tuple[MadeCell, int]:
    """A call with a failed save; refused, if it was not answered."""
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=save, **saved)
    cell.complete(call, status, {"refused": True} if status is OpType.INFO else {})
    return cell, call


def test_a_kind_of_cancellation_is_one() -> None:
    cell, _ = _failed(save=STOPPED)
    shows(_ask(NoSilentFailure(), cell), Verdict.PASS)


def test_an_attempt_of_an_unknown_call_is_passed_over() -> None:
    cell, _ = _failed()
    parents: list[Json] = [99, [1], "1", None]
    for parent in parents:
        cell.complete(cell.invoke("attempt", "u0", {"parent": parent, "n": 1}))
    shows(_ask(NoSilentFailure(), cell), Verdict.FAIL)
    again = cell.begin("turn", "t1", attempt=2)
    cell.attempt(again)
    cell.complete(again)
    shows(_ask(NoSilentFailure(), cell), Verdict.PASS)


def test_a_call_whose_attempts_all_failed_makes_nothing_good() -> None:
    cell, _ = _failed()
    again = cell.begin("turn", "t1", attempt=2)
    cell.attempt(again, error=OPERATIONAL)
    cell.complete(again)
    shows(_ask(NoSilentFailure(), cell), Verdict.FAIL)


def test_a_call_without_attempts_that_was_not_answered_makes_nothing_good() -> None:
    cell, _ = _failed()
    cell.call("turn", "t1", status="info", attempt=2)
    shows(_ask(NoSilentFailure(), cell), Verdict.FAIL)


def test_a_save_is_made_good_for_the_turn_of_its_call_whatever_its_own_row_says() -> None:
    cell, _ = _failed(turn="other")
    cell.call("turn", "t1", attempt=2)
    shows(_ask(NoSilentFailure(), cell), Verdict.PASS)


def test_a_save_that_failed_after_its_call_had_ended_is_nobody_s_to_tell() -> None:
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.complete(call, OpType.INFO, {}, OPERATIONAL)
    lost = dataclasses.replace(OPERATIONAL, message="another")
    cell.save("aput", parent=call, error=lost)
    shows(_ask(NoSilentFailure(), cell), Verdict.PASS)
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=lost)
    cell.complete(call, OpType.INFO, {}, OPERATIONAL)
    shows(_ask(NoSilentFailure(), cell), Verdict.FAIL)


# -- readers and evidence -----------------------------------------------------------------------------------------


def test_a_reader_that_did_not_look_disagrees_with_nobody() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    for facts in (cell.facts(turns=None), cell.facts(sql_turns=None), cell.facts(turns=None, sql_exact=True)):
        for checker in (NoLostTurn(), NoDuplicateTurn()):
            assert not _ask(checker, cell, facts).details.get("disagreements")


def test_repetitions_in_raw_bytes_say_nothing() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    twice = turns_of(1, 1)
    shows(_ask(NoDuplicateTurn(), cell, cell.facts(sql_turns=twice, sql_answers=twice)), Verdict.PASS)


def test_a_pass_carries_no_anomalies() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    assert "anomalies" not in _ask(NoLostTurn(), cell).details


def test_a_turn_in_writes_alone_names_its_call() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    facts = cell.facts(turns=(), sql_turns=(), history_turns=(), orphan_writes=1, pending_turns=turns_of(1))
    finding = _ask(Isolation(), cell, facts)
    cases: Any = finding.details["anomalies"]
    assert [(case["code"], case["thread"], case["turn"]) for case in cases] == [("T1", THREAD, turns_of(1)[0])]
    assert finding.evidence == (0, 1)


def test_windows_are_shown_by_their_time_and_around_calls_that_never_ended() -> None:
    cell = MadeCell()
    cell.now_s = 1.0
    cell.strike(7)
    cell.heal(7)
    cell.now_s = 2.0
    cell.strike(3)
    cell.heal(3)
    cell.now_s = 3.0
    cell.call("turn", "t1", status="open")
    cell.now_s = 4.0
    cell.call("restore", "r1", turns=turns_of(1))
    cases: Any = _ask(NoLostTurn(), cell, cell.facts(turns=(), sql_turns=())).details["anomalies"]
    assert [case["code"] for case in cases] == ["R2"]
    assert [window["window"] for window in cases[0]["windows"]] == [7, 3]


def test_what_was_exercised_is_counted() -> None:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 2.0
    cell.strike()
    cell.save(error=OPERATIONAL)
    cell.heal()
    cell.everybody(round_=2)
    cell.end()
    finding = _ask(Exercised(), cell)
    assert finding.details["windows"] == 1
    assert "hits" in finding.details
    assert finding.summary == "every window (1) was installed, felt and healed; 4 calls answered"


# -- windows ------------------------------------------------------------------------------------------------------


def _gaps(condition: Any, cell: MadeCell) -> list[tuple[str, tuple[int, ...]]]:
    evidence = vacuity.Evidence(Reading(cell.history), cell.facts())
    return [(gap.code.value if gap.code else "", gap.rows) for gap in condition(evidence)]


def test_usual_is_how_long_it_took_and_not_when() -> None:
    cell = MadeCell()
    cell.now_s = 5.0
    cell.save("aput", took_s=0.125)
    cell.now_s = 6.0
    cell.phase("drive")
    cell.strike(effect="disturbs", usable=True)
    for _ in range(2):
        cell.save("aput", took_s=0.5)
    cell.heal()
    reading = Reading(cell.history)
    assert unseen(reading.damages[0], reading) is None


@pytest.mark.parametrize(
    ("hits", "delay_ms", "took_s", "error", "seen"),
    [
        ([{"no": "time"}], 0.0, 3.0, OPERATIONAL, False),
        (5, 0.0, 3.0, OPERATIONAL, False),
        ([{"time_s": 2.5}], 0.5, 2.0, None, True),
        ([{"time_s": 2.5}], 1875.0, 1.625, None, True),
        ([{"time_s": 2.5}], 1875.0, 1.624, None, False),
    ],
)
def test_hits_without_a_time_and_short_ones(
    hits: Json, delay_ms: float, took_s: float, error: ErrorInfo | None, seen: bool
) -> None:
    cell = MadeCell()
    cell.save("aput", took_s=0.125)
    cell.now_s = 1.0
    cell.phase("drive")
    slow = cell.invoke("aput", "g0/A", {"thread": "t"})
    cell.strike(effect="strikes", delay_ms=delay_ms)
    cell.now_s = 1.0 + took_s
    cell.complete(slow, OpType.OK if error is None else OpType.INFO, {}, error)
    cell.now_s = 9.0
    cell.heal(hits=hits)
    reading = Reading(cell.history)
    assert (unseen(reading.damages[0], reading) is None) is seen


def test_a_window_that_was_never_installed_does_not_end_the_looking() -> None:
    cell = MadeCell()
    cell.complete(cell.invoke("fault", "faults", {"window": 3, "effect": "lingers"}), OpType.INFO, {}, OPERATIONAL)
    row = len(cell.rows)
    cell.strike(effect="lingers")
    cell.heal()
    assert _gaps(vacuity.touched, cell) == [("V2", (row,))]


def test_a_window_that_says_nothing_of_itself_names_its_row() -> None:
    cell = MadeCell()
    order = cell.invoke("fault", "faults", {"window": 0, "effect": "lingers"})
    cell.complete(order, OpType.OK, {"window": 0, "change": {}})
    cell.heal()
    assert _gaps(vacuity.installed, cell) == [("V1", (0,))]


def test_saves_that_begin_as_the_window_ends_are_its_traffic() -> None:
    cell = MadeCell()
    cell.strike(effect="lingers", needs_in_flight=1)
    cell.now_s = 2.0
    cell.heal(lingering_sockets=1)
    cell.save()
    assert _gaps(vacuity.touched, cell) == [("V3", (0,))]


def test_a_re_creation_that_came_too_late_does_not_end_the_looking() -> None:
    cell = MadeCell()
    cell.sample(g0=[1], g1=[2])
    slow = cell.invoke("recreate", "g1", {"ordered": True})
    rows = (len(cell.rows), len(cell.rows) + 1)
    cell.complete(cell.invoke("recreate", "g0", {"ordered": True}))
    cell.now_s = 9.0
    cell.complete(slow)
    cell.phase("converged")
    assert _gaps(vacuity.renewed, cell) == [("V6", rows)]


@pytest.mark.parametrize(("other", "told"), [((1.0, 2.0), False), ((1.0, 1.75), True)])
def test_damage_that_ends_as_another_begins_is_beside_it(other: tuple[float, float], told: bool) -> None:
    cell = MadeCell()
    cell.now_s = other[0]
    cell.strike(1, needs=["postgres"])
    cell.now_s = other[1]
    cell.heal(1)
    cell.now_s = 2.0
    row = len(cell.rows)
    cell.strike(0)
    for _ in range(2):
        cell.point("connections", "sampler", {"error": "x"})
    cell.now_s = 3.0
    cell.heal(0)
    assert _gaps(vacuity.unaffected, cell) == ([("V5", (row,))] if told else [])


@pytest.mark.parametrize(
    ("away", "told"), [((1.0, 2.0), True), ((1.0, 2.5), False), ((4.0, 5.0), True), ((3.5, 5.0), False), (None, True)]
)
def test_nobody_need_be_answered_while_another_window_takes_the_database_away(
    away: tuple[float, float] | None, told: bool
) -> None:
    cell = MadeCell()
    cell.point("gate", "runner", {"kinds": {"turn": 1}, "agents": [AGENT]})
    acts: list[tuple[float, Any]] = [
        (2.0, lambda: cell.strike(0, usable=True, needs_in_flight=1)),
        (3.0, lambda: cell.call("turn", "t1", status="info", took_s=0.0)),
        (4.0, lambda: cell.heal(0)),
        (9.0, lambda: cell.call("turn", "t2")),
    ]
    if away is not None:
        acts += [(away[0], lambda: cell.strike(1)), (away[1], lambda: cell.heal(1))]
    for at_s, act in sorted(acts, key=lambda row: row[0]):
        cell.now_s = at_s
        act()
    row = next(op.index for op in cell.rows if op.f == "fault" and op.value.get("usable"))
    assert _gaps(vacuity.answered, cell) == ([("V7", (row,))] if told else [])


def test_a_heal_without_a_number_ends_no_other_window_s_time() -> None:
    cell = MadeCell()
    cell.strike(1, start_s=0.0, stop_s=2.0)
    cell.complete(cell.invoke("heal", "faults", {}))
    cell.now_s = 2.0
    cell.heal(1)
    assert _gaps(vacuity.on_time, cell) == []


def test_how_long_the_machine_may_stand_still_goes_by_the_window_s_length() -> None:
    cell = MadeCell()
    cell.now_s = 20.0
    cell.strike()
    cell.now_s = 25.0
    cell.point("stall", "watchdog", {"seconds": 1.25, "host": True})
    cell.now_s = 30.0
    cell.heal()
    assert _gaps(vacuity.on_time, cell) == [("V14", (0,))]


def test_a_group_that_never_came_through_the_proxy_is_named() -> None:
    cell = MadeCell()
    cell.point("gate", "runner", {"kinds": {"turn": 1}, "agents": ["team/x"], "route": True})
    cell.call("turn", "t1", group="g1", thread="team/x.u3.0")
    evidence = vacuity.Evidence(Reading(cell.history), Facts())
    (gap,) = vacuity.through_the_proxy(evidence)
    assert "no connection of group g1, which answered calls" in gap.text
