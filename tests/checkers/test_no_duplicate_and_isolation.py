"""no_duplicate_turn: D1 D2 I1. isolation: X1 Q1 R1 O1 Z1 T1 P1."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.core.facts import Facts
from harness.core.verdict import Checker, Finding, Verdict
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell, shows, turns_of

OTHER = "SupervisorAgent.u1.0"
BOTH: list[Checker] = [NoDuplicateTurn(), Isolation()]


def _twice(cell: MadeCell, facts: Facts | None = None) -> Finding:
    return NoDuplicateTurn().check(cell.history, cell.facts() if facts is None else facts, BOUNDS)


def _apart(cell: MadeCell, facts: Facts | None = None) -> Finding:
    return Isolation().check(cell.history, cell.facts() if facts is None else facts, BOUNDS)


def _two_threads() -> MadeCell:
    cell = MadeCell()
    for number in (1, 2):
        cell.call("turn", f"t{number}")
        cell.call("turn", f"t{number}", thread=OTHER, group="g1")
    return cell


@pytest.mark.parametrize("checker", BOTH, ids=lambda checker: checker.guarantee.value)
def test_kept(checker: Checker) -> None:
    cell = _two_threads()
    shows(checker.check(cell.history, cell.facts(), BOUNDS), Verdict.PASS)


@pytest.mark.parametrize("checker", BOTH, ids=lambda checker: checker.guarantee.value)
@pytest.mark.parametrize("changes", [{"complete": False}, {"problems": ("x",)}])
def test_failed_final_reads_decide_nothing(checker: Checker, changes: dict[str, object]) -> None:
    cell = _two_threads()
    facts = dataclasses.replace(cell.facts(), **changes)  # type: ignore[arg-type]
    shows(checker.check(cell.history, facts, BOUNDS), Verdict.INVALID)


@pytest.mark.parametrize("checker", BOTH, ids=lambda checker: checker.guarantee.value)
def test_an_empty_cell_proves_nothing(checker: Checker) -> None:
    shows(checker.check(MadeCell().history, Facts(), BOUNDS), Verdict.INVALID)


def test_d2_two_answers() -> None:
    cell = _two_threads()
    finding = _twice(cell, cell.facts(answers=turns_of(1, 1, 2)))
    shows(finding, Verdict.FAIL, "D2")
    assert finding.details["doubled"] == 1
    assert finding.evidence == (0, 1), "the call whose turn it is"


def test_d2_an_effect_stands_twice() -> None:
    cell = _two_threads()
    effects = (f"{THREAD}/t1/plan", f"{THREAD}/t1/answer", f"{THREAD}/t1/plan")
    shows(_twice(cell, cell.facts(effects=effects)), Verdict.FAIL, "D2")


def test_d1_a_turn_stands_twice_in_the_final_state() -> None:
    cell = _two_threads()
    shows(_twice(cell, cell.facts(turns=turns_of(1, 2, 1))), Verdict.FAIL, "D1")


@pytest.mark.parametrize("numbers", [(1, 2, 2), (2, 2, 1), (1, 1)])
def test_d1_a_turn_stands_twice_in_a_reply(numbers: tuple[int, ...]) -> None:
    cell = _two_threads()
    cell.call("restore", "r1", turns=turns_of(*numbers))
    shows(_twice(cell), Verdict.FAIL, "D1")


def test_a_turn_sent_twice_and_stored_once_is_no_duplicate() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    cell.call("turn", "t1", attempt=2)
    shows(_twice(cell), Verdict.PASS)


def test_i1_resumed_twice() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=["i1"])
    cell.call("resume", "t1", target="i1", status="info")
    cell.call("resume", "t1", target="i1", attempt=2)
    shows(_twice(cell), Verdict.PASS)
    cell.call("resume", "t1", target="i1", attempt=3)
    shows(_twice(cell), Verdict.FAIL, "I1")


def test_an_interrupt_that_fires_again_may_be_resumed_again() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=["i1"])
    cell.call("resume", "t1", target="i1", waiting=["i1"])
    cell.call("resume", "t1", target="i1")
    shows(_twice(cell), Verdict.PASS)


def test_i1_an_interrupt_got_lost() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=["i1"])
    shows(_twice(cell), Verdict.PASS)
    shows(_twice(cell, cell.facts(waiting=())), Verdict.FAIL, "I1")
    cell.call("resume", "t1", target="i1", status="info")
    shows(_twice(cell, cell.facts(waiting=())), Verdict.PASS)


@pytest.mark.parametrize("place", ["turns", "sql_turns", "history_turns", "answers"])
def test_x1_a_turn_of_another_thread(place: str) -> None:
    cell = _two_threads()
    mixed: dict[str, Any] = {place: (*turns_of(1, 2), f"{OTHER}/t1")}
    finding = _apart(cell, cell.facts(**mixed))
    shows(finding, Verdict.FAIL, "X1")
    assert OTHER in finding.summary


def test_x1_in_the_effects_and_in_a_reply() -> None:
    cell = _two_threads()
    shows(_apart(cell, cell.facts(effects=(f"{OTHER}/t1/plan",))), Verdict.FAIL, "X1")
    cell.call("restore", "r1", turns=(*turns_of(1, 2), f"{OTHER}/t2"))
    finding = _apart(cell)
    shows(finding, Verdict.FAIL, "X1")
    assert len(finding.evidence) == 4, "the call of the turn in its own thread, and the reply that shows it in another"


def test_q1_a_turn_that_nobody_sent() -> None:
    cell = _two_threads()
    shows(_apart(cell, cell.facts(turns=turns_of(1, 2, 9))), Verdict.FAIL, "Q1")
    shows(_apart(cell, cell.facts(turns=(*turns_of(1, 2), "garbage"))), Verdict.FAIL, "Q1")


def test_q1_a_thread_that_nobody_used() -> None:
    cell = _two_threads()
    facts = dataclasses.replace(cell.facts(), table_threads=(THREAD, OTHER, f"{THREAD}-x"))
    shows(_apart(cell, facts), Verdict.FAIL, "Q1")


def test_r1_a_turn_that_certainly_failed_is_there() -> None:
    cell = _two_threads()
    cell.call("turn", "t3", status="fail")
    shows(_apart(cell), Verdict.PASS)
    shows(_apart(cell, cell.facts(history_turns=turns_of(1, 2, 3))), Verdict.FAIL, "R1")
    cell.call("restore", "r1", turns=turns_of(1, 2, 3))
    finding = _apart(cell)
    shows(finding, Verdict.FAIL, "R1")


@pytest.mark.parametrize("other", ["ok", "info", "open"])
def test_a_turn_of_which_one_attempt_may_have_happened_may_be_there(other: str) -> None:
    cell = _two_threads()
    cell.call("turn", "t3", status="fail")
    cell.call("turn", "t3", status=other, attempt=2)
    shows(_apart(cell, cell.facts(turns=turns_of(1, 2, 3), history_turns=turns_of(1, 2, 3))), Verdict.PASS)


def test_o1_order() -> None:
    cell = _two_threads()
    finding = _apart(cell, cell.facts(turns=turns_of(2, 1)))
    shows(finding, Verdict.FAIL, "O1")
    assert f"{THREAD}/t1 was acknowledged before" in finding.summary


def test_turns_that_overlapped_may_stand_in_any_order() -> None:
    cell = MadeCell()
    first = cell.begin("turn", "t1")
    second = cell.begin("turn", "t2", group="g1")
    cell.complete(first, value={})
    cell.complete(second, value={})
    for numbers in ((1, 2), (2, 1)):
        shows(_apart(cell, cell.facts(turns=turns_of(*numbers))), Verdict.PASS)


def test_a_turn_first_sent_before_the_other_was_acknowledged_may_stand_before_it() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    cell.call("turn", "t2")
    cell.call("turn", "t1", attempt=2)
    for numbers in ((1, 2), (2, 1)):
        shows(_apart(cell, cell.facts(turns=turns_of(*numbers))), Verdict.PASS)


def test_z1_a_deleted_thread_is_there() -> None:
    cell = _two_threads()
    cell.call("delete", "d1")
    shows(_apart(cell), Verdict.PASS)
    shows(_apart(cell, cell.facts(exists=True)), Verdict.FAIL, "Z1")


def test_z1_a_read_after_the_delete_shows_it() -> None:
    cell = _two_threads()
    cell.call("delete", "d1")
    cell.call("restore", "r1", turns=turns_of(1, 2))
    shows(_apart(cell), Verdict.FAIL, "Z1")


def test_z1_an_old_turn_in_the_thread_that_began_anew() -> None:
    cell = _two_threads()
    cell.call("delete", "d1")
    cell.call("turn", "t3")
    shows(_apart(cell), Verdict.PASS)
    shows(_apart(cell, cell.facts(turns=turns_of(2, 3))), Verdict.FAIL, "Z1")


def test_a_delete_in_doubt_may_have_left_everything() -> None:
    cell = _two_threads()
    cell.call("delete", "d1", status="info")
    shows(_apart(cell), Verdict.PASS)


def test_t1_a_torn_state() -> None:
    cell = _two_threads()
    shows(_apart(cell, cell.facts(problems=("answer without its question",))), Verdict.FAIL, "T1")


def test_p1_and_t1_only_where_they_hide_an_acknowledged_turn() -> None:
    cell = _two_threads()
    shows(_apart(cell, cell.facts(forks=3, dangling_parents=2, orphan_writes=9)), Verdict.PASS)
    shows(_apart(cell, cell.facts(forks=1, turns=turns_of(1), answers=turns_of(1))), Verdict.FAIL, "P1")
    shows(_apart(cell, cell.facts(dangling_parents=1, turns=turns_of(1))), Verdict.FAIL, "T1")
    cell.call("fork", "f1", target=f"{THREAD}/t9")
    shows(_apart(cell, cell.facts(forks=1, turns=turns_of(1), answers=turns_of(1))), Verdict.PASS)
