"""Edges that small wrong changes of the checkers showed to be untested: see ``docs/mutants.md``."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.anomalies import SHOWN, SHOWN_OF_A_CODE, Case, evidence
from harness.checkers.available import Available
from harness.checkers.connection_budget import ConnectionBudget
from harness.checkers.declared_errors import DeclaredErrors
from harness.checkers.effects import unseen
from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_hang import NoHang
from harness.checkers.no_lost_turn import NoLostTurn
from harness.checkers.no_pool_closed import NoPoolClosed
from harness.checkers.no_silent_failure import NoSilentFailure
from harness.checkers.reading import Reading
from harness.checkers.recovers import Recovers
from harness.checkers.vacuity import Evidence, on_time
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.verdict import Anomaly, Checker, Finding, Verdict
from tests.checkers.made_histories import BOUNDS, OPERATIONAL, THREAD, MadeCell, shows, turns_of


def _ask(checker: Checker, cell: MadeCell, facts: Facts | None = None) -> Finding:
    return checker.check(cell.history, cell.facts() if facts is None else facts, BOUNDS)


# -- what is shown of a case ----------------------------------------------------------------------------------------


def test_only_so_many_cases_are_shown_of_a_code_and_of_all() -> None:
    codes = list(Anomaly)[: SHOWN // SHOWN_OF_A_CODE + 1]
    cases = [Case(code, THREAD, "", "words") for code in codes for _ in range(SHOWN_OF_A_CODE + 1)]
    shown = evidence(cases, Reading(History()), Facts())["anomalies"]
    assert isinstance(shown, list)
    assert [case["code"] for case in shown if isinstance(case, dict)] == [
        code.value for code in codes[:-1] for _ in range(SHOWN_OF_A_CODE)
    ]


def test_a_case_without_a_call_is_about_the_whole_history() -> None:
    cell = MadeCell()
    cell.strike(kind="first")
    cell.now_s = 0.5
    cell.heal()
    cell.now_s = 40.0
    cell.strike(1, kind="last")
    cell.now_s = 41.0
    cell.heal(1)
    shown: Any = evidence([Case(Anomaly.Q1, THREAD, "", "words")], Reading(cell.history), Facts())["anomalies"]
    (case,) = shown
    assert [(window["kind"], window["when"]) for window in case["windows"]] == [
        ("first", "during it"),
        ("last", "during it"),
    ]


# -- counts ---------------------------------------------------------------------------------------------------------


def test_one_call_that_came_late_beside_one_answer_is_slow() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.strike()
    cell.now_s = 1.0
    cell.heal()
    cell.now_s = 1.0 + BOUNDS.recover_s + 0.5
    cell.call("turn", "t2", status="info")
    shows(_ask(Available(), cell), Verdict.SLOW)


def test_errors_that_were_in_order_are_counted() -> None:
    cell = MadeCell()
    cell.strike()
    for number in (1, 2):
        cell.call("turn", f"t{number}", status="info")
    cell.heal()
    assert _ask(DeclaredErrors(), cell).summary.startswith("2 errors at callers in 2 calls")


def test_a_group_that_no_sample_saw_had_no_peak() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    finding = _ask(ConnectionBudget(), cell, Facts(leftover_backends={"g0": 0}))
    assert finding.verdict is Verdict.INVALID
    assert finding.details["peaks"] == {"g0": 0}


def test_the_first_and_the_last_row_above_the_budget_are_the_evidence() -> None:
    cell = MadeCell()
    cell.gate()
    rows = []
    for more in (1, 2, 3):
        rows.append(cell.sample_row(g0=list(range(BOUNDS.budget + more))))
        cell.now_s += 0.3
    cell.sample(g0=[1])
    finding = _ask(ConnectionBudget(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (rows[0], rows[-1])


# -- windows --------------------------------------------------------------------------------------------------------


def test_the_best_moment_of_a_re_creation_that_proved_nothing_is_told() -> None:
    cell = MadeCell()
    cell.strike(effect="recreates")
    for in_flight in (1, 2):
        cell.complete(cell.invoke("recreate", "g0", {"ordered": True, "in_flight": in_flight, "waiters": 1}))
    cell.heal()
    reading = Reading(cell.history)
    assert "2 calls in flight at most" in (unseen(reading.damages[0], reading) or "")


def test_a_hit_without_a_time_was_felt_by_nobody() -> None:
    cell = MadeCell()
    cell.strike(effect="strikes")
    cell.save(error=OPERATIONAL)
    cell.heal(seen=1, hits=[{"connection": 1}])
    reading = Reading(cell.history)
    assert "no saver call that waited for one" in (unseen(reading.damages[0], reading) or "")


# -- closed pools ---------------------------------------------------------------------------------------------------


def test_leaks_are_counted_by_kind_and_one_that_names_no_pool_is_laid_to_the_group_s_last_closer() -> None:
    cell = MadeCell()
    cell.point("pool", "g0", {"event": "close", "pool": "g0-1", "by": ["a.py:1 f"]})
    for number in (1, 2):
        cell.call("turn", f"t{number}", value={"text": "sorry, the pool is closed"})
    finding = _ask(NoPoolClosed(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.details["kinds"] == {"closed": 2}
    assert "g0-1 closed at 0.000 s by a.py:1 f" in finding.summary
    assert 0 in finding.evidence


# -- hangs ----------------------------------------------------------------------------------------------------------


def test_a_call_that_never_ended_is_told_apart_from_one_that_ended_late() -> None:
    cell = MadeCell()
    cell.begin("turn", "t1")
    cell.now_s = 30.0
    cell.phase("end")
    assert "had not ended 22.0 s after its deadline" in _ask(NoHang(), cell).summary
    cell = MadeCell()
    cell.call("turn", "t1", took_s=30.0)
    assert "was answered 22.0 s after its deadline" in _ask(NoHang(), cell).summary


def test_a_call_that_was_ended_before_its_deadline_is_not_late() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", took_s=1.0, status="info", value={"hung": True})
    finding = _ask(NoHang(), cell)
    shows(finding, Verdict.FAIL)
    assert "had to be ended by the harness 0.0 s after its deadline" in finding.summary


def test_a_watchdog_s_row_without_a_call_is_about_none() -> None:
    rows = [
        Op(0, 0.0, OpType.INVOKE, "turn", "u0", 0, {"thread": THREAD, "turn": f"{THREAD}/t1"}),
        Op(1, 9.0, OpType.INFO, "overdue", "watchdog", None, {}),
        Op(2, 30.0, OpType.OK, "turn", "u0", 0, {}),
    ]
    finding = NoHang().check(History(rows), Facts(), BOUNDS)
    assert finding.evidence == (0, 2)
    rows[1] = Op(1, 9.0, OpType.INFO, "overdue", "watchdog", None, {"call": 0})
    assert NoHang().check(History(rows), Facts(), BOUNDS).evidence == (0, 1, 2)


# -- recovery -------------------------------------------------------------------------------------------------------


def _healed() -> MadeCell:
    """A window that ended at 1 s."""
    cell = MadeCell()
    cell.strike()
    cell.now_s = 1.0
    cell.heal()
    return cell


def test_an_agent_that_came_back_late_is_told_of_without_more() -> None:
    cell = _healed()
    cell.now_s = 5.0
    cell.call("turn", "t1", took_s=0.5)
    finding = _ask(Recovers(), cell)
    shows(finding, Verdict.SLOW)
    assert finding.summary.endswith("(bound 3 s)")


def test_an_agent_that_had_no_time_to_come_back_was_away_for_as_long_as_it_was_asked() -> None:
    cell = _healed()
    cell.call("turn", "t1", took_s=0.5, status="info")
    cell.end()
    finding = _ask(Recovers(), cell)
    assert finding.verdict is Verdict.INVALID
    assert finding.details["recovery_s"] == 0.5


def test_of_calls_that_ended_at_one_time_the_later_row_came_later() -> None:
    cell = _healed()
    cell.call("turn", "t1", took_s=0.5)
    failed, answered, failed_too = (cell.begin("turn", f"t{number}") for number in (2, 3, 4))
    cell.now_s += 0.5
    cell.complete(failed, OpType.INFO, {}, OPERATIONAL)
    cell.complete(answered)
    cell.complete(failed_too, OpType.INFO, {}, OPERATIONAL)
    shows(_ask(Recovers(), cell), Verdict.INVALID)


def test_an_answer_at_the_very_time_of_a_failure_is_an_answer() -> None:
    cell = _healed()
    calls = [cell.begin("turn", f"t{number}") for number in (1, 2)]
    cell.now_s += 0.5
    cell.complete(calls[0])
    cell.complete(calls[1], OpType.INFO, {}, OPERATIONAL)
    shows(_ask(Recovers(), cell), Verdict.PASS)


def test_a_window_without_a_number_has_to_last_as_planned_too() -> None:
    rows = [
        Op(0, 0.0, OpType.INVOKE, "fault", "faults", 1, {"start_s": 0.0, "stop_s": 1.0}),
        Op(1, 0.0, OpType.OK, "fault", "faults", 1, {"change": {"a": 1}}),
        Op(2, 3.0, OpType.INVOKE, "heal", "faults", 2, {}),
        Op(3, 3.0, OpType.OK, "heal", "faults", 2, {}),
    ]
    (gap,) = on_time(Evidence(Reading(History(rows)), Facts()))
    assert "was planned for 1.00 s and lasted 3.00 s" in gap.text


def test_what_ended_calls_that_a_fault_cut_short_is_nobody_s_error_and_the_next_one_is() -> None:
    cell = MadeCell()
    foreign = ErrorInfo("KeyError", "'x'")
    cell.call("turn", "t1", status="info", error=foreign, value={"cancelled": 1, "by": "client"})
    late = ErrorInfo("TimeoutError", "")
    cell.call("turn", "t2", status="info", error=late, value={"cancelled": 1, "by": "timeout"})
    shows(_ask(DeclaredErrors(), cell), Verdict.PASS)
    cell.call("turn", "t3", status="info", error=foreign)
    shows(_ask(DeclaredErrors(), cell), Verdict.FAIL)


# -- saves that failed ----------------------------------------------------------------------------------------------


def test_an_attempt_of_no_call_hides_none_of_the_others() -> None:
    cell = MadeCell()
    cell.attempt(999)
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=OPERATIONAL)
    cell.attempt(call, 2)
    cell.complete(call)
    shows(_ask(NoSilentFailure(), cell), Verdict.PASS)


def test_what_a_later_attempt_made_good_stays_so_whatever_was_answered_before() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    again = cell.begin("turn", "t1")
    cell.save("aput", parent=again, error=OPERATIONAL)
    cell.attempt(again, 1)
    cell.complete(again)
    shows(_ask(NoSilentFailure(), cell), Verdict.PASS)


# -- words that readers of the final state add ----------------------------------------------------------------------


def test_what_both_readers_see_twice_is_told_without_more() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    finding = _ask(NoDuplicateTurn(), cell, cell.facts(answers=turns_of(1, 1)))
    shows(finding, Verdict.FAIL, "D2")
    assert finding.summary == f"D2: turn {THREAD}/t1 was answered more than once"


# -- threads --------------------------------------------------------------------------------------------------------


def test_a_turn_that_was_missed_once_may_be_deleted_afterwards() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", turns=turns_of(2))
    cell.call("delete", "d1")
    shows(_ask(NoLostTurn(), cell), Verdict.FAIL, "S1")


def test_a_thread_that_began_anew_after_a_delete_has_no_excuse_for_torn_state() -> None:
    cell = MadeCell()
    cell.save("aput", error=OPERATIONAL)
    cell.call("turn", "t1")
    cell.call("delete", "d1")
    cell.call("turn", "t2")
    facts = cell.facts(problems=("a node answered twice",), checkpoints=1)
    shows(_ask(Isolation(), cell, facts), Verdict.FAIL, "T1")


@pytest.mark.parametrize("times", [1, 2])
def test_rows_that_share_an_index_are_all_played(times: int) -> None:
    """No history of ours has them, and a loader lets them pass: what was acknowledged must not vanish."""
    rows = [
        Op(0, 0.0, OpType.INVOKE, "turn", "u0", 1, {"thread": THREAD, "turn": f"{THREAD}/t1"}),
        Op(0, 0.0, OpType.INVOKE, "turn", "u1", 2, {"thread": THREAD, "turn": f"{THREAD}/t2"}),
        Op(10**30, 1.0, OpType.OK, "turn", "u0", 1, {}),
        Op(10**30, 1.0, OpType.OK, "turn", "u1", 2, {}),
    ]
    (conversation,) = Reading(History(rows[: 2 + times])).conversations.values()
    assert len(conversation.required) == times
