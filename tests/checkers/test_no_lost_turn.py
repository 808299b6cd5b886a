"""no_lost_turn: L1 L2 S1 R2 N1 H1, what excuses a missing turn, and when nothing was decided."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.checkers.no_lost_turn import NoLostTurn
from harness.core.facts import Facts
from harness.core.verdict import Finding, Verdict
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell, shows, turns_of


def _check(cell: MadeCell, facts: Facts | None = None) -> Finding:
    return NoLostTurn().check(cell.history, cell.facts() if facts is None else facts, BOUNDS)


def _three_turns() -> MadeCell:
    cell = MadeCell()
    for number in (1, 2, 3):
        cell.call("turn", f"t{number}")
    return cell


def test_kept() -> None:
    finding = _check(_three_turns())
    shows(finding, Verdict.PASS)
    assert finding.details["acknowledged"] == 3


def test_l1_gone_by_both_readers() -> None:
    cell = _three_turns()
    held = turns_of(1, 2)
    finding = _check(cell, cell.facts(turns=held, sql_turns=held, answers=held, history_turns=held))
    shows(finding, Verdict.FAIL, "L1")
    assert f"{THREAD}/t3" in finding.summary
    assert finding.evidence == (4, 5)
    assert finding.details["lost"] == 1


def test_l1_by_sql_alone() -> None:
    cell = _three_turns()
    finding = _check(cell, cell.facts(sql_turns=turns_of(1, 3)))
    shows(finding, Verdict.FAIL, "L1")
    assert "a fresh agent sees it, plain SQL does not" in finding.summary


def test_l2_hidden_by_a_fork() -> None:
    cell = _three_turns()
    held = turns_of(1, 2)
    finding = _check(cell, cell.facts(turns=held, sql_turns=held, answers=held))
    shows(finding, Verdict.FAIL, "L2")
    assert "hidden" in finding.summary


def test_h1_an_acknowledged_answer_is_missing() -> None:
    cell = _three_turns()
    finding = _check(cell, cell.facts(answers=turns_of(1, 3)))
    shows(finding, Verdict.FAIL, "H1")
    assert f"{THREAD}/t2" in finding.summary


def test_a_waiting_turn_owes_no_answer_until_its_resume_is_ok() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=["i1"])
    shows(_check(cell), Verdict.PASS)
    cell.call("resume", "t1", target="i1", waiting=["i2"])
    shows(_check(cell), Verdict.PASS)
    cell.call("resume", "t1", target="i2")
    shows(_check(cell), Verdict.PASS)
    shows(_check(cell, cell.facts(answers=())), Verdict.FAIL, "H1")


def test_a_waiting_turn_must_still_be_there() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=["i1"])
    shows(_check(cell, cell.facts(turns=(), sql_turns=(), history_turns=(), waiting=())), Verdict.FAIL, "L1")


def test_s1_a_later_read_on_another_replica_lacks_it() -> None:
    cell = _three_turns()
    cell.call("restore", "r1", group="g1", turns=turns_of(1, 2))
    finding = _check(cell)
    shows(finding, Verdict.FAIL, "S1")
    assert finding.evidence == (4, 5, 6, 7), "the call that acknowledged it, and the reply that lacks it"
    assert "g1/SupervisorAgent" in finding.summary


def test_s1_in_the_reply_to_the_next_turn() -> None:
    cell = _three_turns()
    cell.call("turn", "t4", turns=turns_of(1, 2, 4))
    shows(_check(cell), Verdict.FAIL, "S1")


def test_a_reply_that_lists_no_turns_at_all_says_nothing() -> None:
    cell = _three_turns()
    cell.call("turn", "t4", turns=())
    shows(_check(cell), Verdict.PASS)


def _acknowledged_without_a_list() -> MadeCell:
    """t2 was acknowledged by a reply that lists no turns."""
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", turns=())
    return cell


def test_s1_of_a_turn_that_no_reply_has_shown_yet() -> None:
    cell = _acknowledged_without_a_list()
    cell.call("turn", "t3", turns=turns_of(1, 3))
    finding = _check(cell)
    shows(finding, Verdict.FAIL, "S1")
    assert finding.evidence == (2, 3, 4, 5)
    assert finding.details["count"] == 1


def test_a_turn_that_the_next_reply_shows_is_there() -> None:
    cell = _acknowledged_without_a_list()
    cell.call("turn", "t3", turns=turns_of(1, 2, 3))
    cell.call("restore", "r1")
    shows(_check(cell), Verdict.PASS)


def test_a_turn_that_no_reply_has_shown_yet_is_looked_for_by_the_first_reply_that_began_after_it() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    early = cell.begin("restore", "r1")
    cell.call("turn", "t2", turns=())
    cell.complete(early, value={"turns": list(turns_of(1))})
    shows(_check(cell), Verdict.PASS)
    cell.call("restore", "r2", turns=turns_of(1))
    finding = _check(cell)
    shows(finding, Verdict.FAIL, "S1")
    assert finding.details["count"] == 1, "and by the next one not again"
    cell.call("restore", "r3", turns=turns_of(1))
    assert _check(cell).details["count"] == 1


def test_a_lost_turn_that_nobody_showed_and_everybody_excuses() -> None:
    cell = _acknowledged_without_a_list()
    cell.call("fork", "f1", target=f"{THREAD}/t2", turns=turns_of(1))
    cell.call("turn", "t3", turns=turns_of(1, 3))
    shows(_check(cell), Verdict.PASS)


def test_what_was_acknowledged_while_a_delete_was_under_way_may_be_gone() -> None:
    cell = MadeCell()
    delete = cell.begin("delete", "d1")
    cell.call("turn", "t1")
    cell.complete(delete)
    cell.call("turn", "t2", turns=turns_of(2))
    left = turns_of(2)
    shows(_check(cell, cell.facts(turns=left, answers=left, sql_turns=left, history_turns=left)), Verdict.PASS)


def test_an_empty_restore_says_that_nothing_is_there() -> None:
    cell = _three_turns()
    cell.call("restore", "r1", turns=())
    shows(_check(cell), Verdict.FAIL, "S1")


def test_a_read_that_began_before_the_acknowledgement_may_lack_it() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    read = cell.begin("restore", "r1", group="g1")
    cell.call("turn", "t2")
    cell.complete(read, value={"turns": list(turns_of(1))})
    cell.call("restore", "r2")
    shows(_check(cell), Verdict.PASS)


def test_r2_a_turn_in_doubt_was_shown_and_is_gone() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", status="info")
    cell.call("restore", "r1", turns=turns_of(1, 2))
    cell.call("restore", "r2", turns=turns_of(1))
    shows(_check(cell), Verdict.FAIL, "R2")


def test_r2_gone_from_the_final_state() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", status="info")
    cell.call("restore", "r1", turns=turns_of(1, 2))
    shows(_check(cell), Verdict.FAIL, "R2")


def test_a_turn_in_doubt_may_be_there_or_not() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", status="info")
    cell.call("turn", "t3")
    shows(_check(cell), Verdict.PASS)
    late = turns_of(1, 3, 2)
    shows(_check(cell, cell.facts(turns=late, sql_turns=late, history_turns=late)), Verdict.PASS)


def test_a_final_state_that_does_not_extend_the_last_reply_is_n1_once() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", status="info")
    cell.call("turn", "t3")
    between = turns_of(1, 2, 3)
    finding = _check(cell, cell.facts(turns=between, sql_turns=between, history_turns=between))
    shows(finding, Verdict.FAIL, "N1")
    assert finding.details["count"] == 1
    assert finding.evidence == (4, 5), "the reply that showed t3 where t2 stands now"
    cell.call("restore", "r1", turns=turns_of(3, 1))
    again = _check(cell, cell.facts(turns=between, sql_turns=between, history_turns=between))
    assert again.details["count"] == 1, "a reply that was wrong already is told of, and no more"


def test_n1_a_reply_in_another_order() -> None:
    cell = _three_turns()
    cell.call("restore", "r1", turns=turns_of(2, 1, 3))
    shows(_check(cell), Verdict.FAIL, "N1")


def test_n1_a_reply_with_something_put_between() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    cell.call("turn", "t2")
    cell.call("restore", "r1", turns=turns_of(1, 2))
    all_of_them = turns_of(1, 2)
    finding = _check(cell, cell.facts(turns=all_of_them, sql_turns=all_of_them))
    shows(finding, Verdict.FAIL, "N1")


@pytest.mark.parametrize("status", ["ok", "info", "refused", "open"])
def test_a_fork_excuses_its_target_and_what_followed(status: str) -> None:
    cell = _three_turns()
    cell.call("fork", "f1", target=f"{THREAD}/t2", status=status)
    cell.state[THREAD] = list(turns_of(1))
    cell.answers[THREAD] = list(turns_of(1))
    cell.call("turn", "t4")
    cell.call("restore", "r1")
    shows(_check(cell), Verdict.PASS)


def test_a_fork_that_certainly_failed_excuses_nothing() -> None:
    cell = _three_turns()
    cell.call("fork", "f1", target=f"{THREAD}/t2", status="fail")
    held = turns_of(1)
    shows(_check(cell, cell.facts(turns=held, sql_turns=held, answers=held, history_turns=held)), Verdict.FAIL, "L1")


def test_a_fork_excuses_nothing_before_its_target_nor_after_itself() -> None:
    cell = _three_turns()
    cell.call("fork", "f1", target=f"{THREAD}/t3")
    cell.call("turn", "t4")
    finding = _check(cell, cell.facts(turns=(), sql_turns=(), answers=(), history_turns=()))
    shows(finding, Verdict.FAIL, "L1")
    assert finding.details["lost_turns"] == [f"{THREAD}/t1", f"{THREAD}/t2", f"{THREAD}/t4"]


def test_a_fork_may_drop_a_half_turn_before_its_target() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", status="info")
    cell.call("turn", "t3", turns=turns_of(1, 2, 3))
    cell.call("fork", "f1", target=f"{THREAD}/t3", turns=turns_of(1))
    shows(_check(cell), Verdict.PASS)


def test_a_turn_sent_again_after_the_fork_is_owed_again() -> None:
    cell = _three_turns()
    cell.call("fork", "f1", target=f"{THREAD}/t3")
    cell.call("turn", "t3")
    held = turns_of(1, 2)
    shows(_check(cell, cell.facts(turns=held, sql_turns=held, answers=held, history_turns=held)), Verdict.FAIL, "L1")


@pytest.mark.parametrize("status", ["ok", "info"])
def test_a_delete_excuses_everything_before_it(status: str) -> None:
    cell = _three_turns()
    cell.call("delete", "d1", status=status)
    cell.call("turn", "t1", thread=f"{THREAD}1")
    gone = cell.facts(turns=(), sql_turns=(), answers=(), history_turns=(), exists=False)
    shows(_check(cell, gone), Verdict.PASS)


def test_after_a_delete_in_doubt_nothing_of_the_thread_is_owed() -> None:
    cell = _three_turns()
    cell.call("delete", "d1", status="info")
    cell.call("turn", "t4")
    cell.call("turn", "t1", thread=f"{THREAD}1")
    cell.call("restore", "r1", turns=())
    shows(_check(cell, cell.facts(turns=(), sql_turns=(), answers=(), history_turns=())), Verdict.PASS)


def test_what_is_sent_after_a_delete_is_owed() -> None:
    cell = _three_turns()
    cell.call("delete", "d1")
    cell.call("turn", "t4")
    shows(_check(cell), Verdict.PASS)
    shows(_check(cell, cell.facts(turns=(), sql_turns=(), answers=(), history_turns=())), Verdict.FAIL, "L1")


@pytest.mark.parametrize(
    "changes",
    [{"complete": False}, {"problems": ("connection refused",)}, {"threads": {}}],
    ids=["part", "problem", "none"],
)
def test_failed_final_reads_decide_nothing(changes: dict[str, Any]) -> None:
    cell = _three_turns()
    shows(_check(cell, dataclasses.replace(cell.facts(), **changes)), Verdict.INVALID)


@pytest.mark.parametrize("reader", ["turns", "sql_turns"])
def test_a_reader_that_failed_decides_nothing(reader: str) -> None:
    cell = _three_turns()
    failed: dict[str, Any] = {reader: None}
    shows(_check(cell, cell.facts(**failed)), Verdict.INVALID)


def test_a_proven_loss_stands_although_the_final_reads_failed() -> None:
    cell = _three_turns()
    held = turns_of(1, 2)
    facts = cell.facts(turns=held, sql_turns=held, answers=held, history_turns=held)
    shows(_check(cell, dataclasses.replace(facts, complete=False, problems=("x",))), Verdict.FAIL, "L1")


def test_nothing_acknowledged_proves_nothing() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    shows(_check(cell), Verdict.INVALID)


def test_several_codes_in_one_finding() -> None:
    cell = _three_turns()
    cell.call("restore", "r1", turns=turns_of(1, 2))
    held = turns_of(1, 2)
    finding = _check(cell, cell.facts(turns=held, sql_turns=held, answers=turns_of(1), history_turns=turns_of(1, 2, 3)))
    shows(finding, Verdict.FAIL, "H1", "L2", "S1")
    assert finding.details["codes"] == {"H1": 1, "L2": 1, "S1": 1}


def test_a_second_fork_of_the_same_target_excuses_what_came_between() -> None:
    cell = _three_turns()
    cell.call("fork", "f1", target=f"{THREAD}/t2", status="info")
    cell.call("turn", "t4")
    cell.call("fork", "f2", target=f"{THREAD}/t2")
    shows(_check(cell), Verdict.PASS)
