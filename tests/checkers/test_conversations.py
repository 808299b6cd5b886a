"""What each thread was promised, call by call: what replies contradict, what forks and deletes excuse, and in which
rows it is seen.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_lost_turn import NoLostTurn
from harness.core.facts import Facts
from harness.core.verdict import Checker
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell, turns_of

LOST, TWICE, APART = NoLostTurn(), NoDuplicateTurn(), Isolation()
T1, T2, T3 = turns_of(1, 2, 3)
#: (code, turn, indexes of the rows in evidence)
Seen = tuple[str, str, tuple[int, ...]]


def _seen(checker: Checker, cell: MadeCell, facts: Facts | None = None) -> list[Seen]:
    cases: Any = checker.check(cell.history, facts or cell.facts(), BOUNDS).details.get("anomalies", [])
    assert {case["thread"] for case in cases} <= {THREAD}
    return [(case["code"], case["turn"], tuple(row["index"] for row in case["operations"])) for case in cases]


def _cell(*turns: str) -> MadeCell:
    """Each turn answered, in two rows."""
    cell = MadeCell()
    for turn in turns:
        cell.call("turn", turn)
    return cell


# -- replies that contradict one another --------------------------------------------------------------------------


def test_n1_names_the_first_turn_that_moved_and_both_replies() -> None:
    cell = _cell("t1", "t2")
    cell.call("turn", "t3", turns=(T2, T1, T3))
    assert _seen(LOST, cell) == [("N1", T1, (2, 3, 4, 5))]
    cell = _cell("t1", "t2", "t3")
    cell.call("restore", "r1", turns=(T1, T3, T2))
    assert _seen(LOST, cell) == [("N1", T2, (4, 5, 6, 7))]


def test_n1_of_a_turn_that_is_gone_again_names_it() -> None:
    cell = _cell("t1", "t2")
    cell.call("restore", "r1", turns=(T1,))
    cell.call("restore", "r2", turns=(T1, T2))
    cell.call("restore", "r3", turns=(T1,))
    assert _seen(LOST, cell) == [("S1", T2, (2, 3, 4, 5)), ("N1", T2, (6, 7, 8, 9))]


def test_r2_names_the_turn_its_call_and_both_replies() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="info")
    cell.call("restore", "r1", turns=(T1, T2))
    cell.call("restore", "r2", turns=(T1,))
    assert _seen(LOST, cell) == [("R2", T2, (2, 3, 4, 5, 6, 7))]


def test_s1_names_the_call_that_acknowledged_it_and_not_the_ones_before() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    cell.call("turn", "t1", attempt=2)
    cell.call("restore", "r1", turns=())
    assert _seen(LOST, cell) == [("S1", T1, (2, 3, 4, 5))]


def test_each_reply_in_which_a_turn_stands_twice_counts() -> None:
    cell = _cell("t1")
    cell.call("restore", "r1", turns=(T1, T1))
    cell.call("restore", "r2", turns=(T1,))
    cell.call("restore", "r3", turns=(T1, T1))
    cell.call("restore", "r4", turns=(T1,))
    assert _seen(TWICE, cell) == [("D1", T1, (2, 3)), ("D1", T1, (6, 7))]
    cell = _cell("t1", "t2")
    for restore in ("r1", "r2"):
        cell.call("restore", restore, turns=(T2, T2, T1))
        cell.call("restore", f"{restore}-again", turns=(T1, T1, T2))
    assert [row for _, _, row in _seen(TWICE, cell)] == [(4, 5), (6, 7), (8, 9)], "four of them, three are shown"
    assert TWICE.check(cell.history, cell.facts(), BOUNDS).details["doubled"] == 4


def test_what_a_contradicting_reply_shows_is_seen() -> None:
    cell = _cell("t1", "t2")
    cell.call("restore", "r1", turns=(T1, f"{THREAD}/t9"))
    assert _seen(APART, cell) == [("Q1", f"{THREAD}/t9", (4, 5))]


def test_after_a_reply_that_contradicts_what_was_acknowledged_since_it_began_is_looked_for() -> None:
    cell = _cell("t1")
    early = cell.begin("restore", "r1")
    cell.call("turn", "t2", turns=())
    cell.complete(early, value={"turns": []})
    cell.call("restore", "r2", turns=())
    assert _seen(LOST, cell) == [("S1", T1, (0, 1, 2, 5)), ("S1", T2, (3, 4, 6, 7))]


def test_replies_side_by_side_need_not_extend_each_other() -> None:
    cell = _cell("t1")
    early = cell.begin("restore", "r1")
    cell.call("turn", "t2")
    cell.complete(early, value={"turns": [T1]})
    cell.call("restore", "r2")
    assert _seen(LOST, cell) == []


# -- what is excused ----------------------------------------------------------------------------------------------


def test_a_fork_of_a_turn_in_doubt_excuses_what_was_acknowledged_after_it_was_sent() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="info")
    cell.call("turn", "t3", turns=(T1, T2, T3))
    cell.call("fork", "f1", target=T2, status="info")
    only = (T1,)
    assert _seen(LOST, cell, cell.facts(turns=only, sql_turns=only, answers=only)) == []


def test_a_fork_does_not_excuse_what_was_acknowledged_before_its_target() -> None:
    cell = MadeCell()
    slow = cell.begin("turn", "t2")
    cell.call("turn", "t1", turns=())
    cell.complete(slow)
    cell.call("fork", "f1", target=T2, turns=())
    assert next((code, turn) for code, turn, _ in _seen(LOST, cell)) == ("S1", T1)


def test_a_fork_excuses_its_target_whenever_that_lands() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="info")
    cell.call("fork", "f1", target=T2, turns=(T1,))
    cell.call("restore", "r1", turns=(T1, T2))
    cell.call("restore", "r2", turns=(T1,))
    assert _seen(LOST, cell) == []


def test_a_turn_that_a_fork_may_have_dropped_may_come_and_go() -> None:
    cell = _cell("t1", "t2", "t3")
    cell.call("fork", "f1", target=T2, status="info")
    cell.call("restore", "r1", turns=(T1, T2))
    cell.call("restore", "r2", turns=(T1,))
    assert _seen(LOST, cell) == []


def test_a_turn_that_a_fork_may_have_dropped_owes_no_answer() -> None:
    cell = _cell("t1", "t2")
    cell.call("fork", "f1", target=T2, status="info")
    assert _seen(LOST, cell, cell.facts(turns=(T1, T2), answers=(T1,))) == []


def test_what_was_excused_before_a_delete_stays_excused() -> None:
    cell = _cell("t1", "t2")
    cell.call("fork", "f1", target=T2)
    cell.call("delete", "d1", status="info")
    cell.call("restore", "r1", turns=(T1, T2))
    cell.call("restore", "r2", turns=(T1,))
    assert _seen(LOST, cell) == []


def test_what_was_in_doubt_before_a_delete_is_excused() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="info")
    cell.call("restore", "r1", turns=(T1, T2))
    cell.call("delete", "d1")
    assert _seen(LOST, cell) == []


# -- interrupts ---------------------------------------------------------------------------------------------------


def test_a_resume_may_answer_several_interrupts_and_each_only_once() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=("i1", "i2"))
    cell.call("resume", "t1", target="i1,i2")
    assert _seen(TWICE, cell) == []
    cell.call("resume", "t1", target="i2")
    assert _seen(TWICE, cell) == [("I1", T1, (2, 3, 4, 5))]


@pytest.mark.parametrize("target", ["", 3, None, ["i1"]])
def test_a_resume_that_names_no_interrupt_answers_none(target: Any) -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=("i1",))
    cell.call("resume", "t1", target=target)
    cell.call("resume", "t1", target=target)
    assert _seen(TWICE, cell) == []


def test_an_interrupt_that_waits_again_may_be_answered_again() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=("i1",))
    cell.call("resume", "t1", target="i1", waiting=("i1",))
    cell.call("resume", "t1", target="i1")
    assert _seen(TWICE, cell) == []


def test_a_lost_interrupt_names_the_call_that_left_it() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.call("turn", "t2", waiting=("i1",))
    cell.call("restore", "r1")
    assert _seen(TWICE, cell, cell.facts(waiting=())) == [("I1", "", (2, 3))]
    cell.call("turn", "t3")
    assert _seen(TWICE, cell, cell.facts(waiting=())) == [], "a call after it may have ended it"


# -- strangers, deletion ------------------------------------------------------------------------------------------


def test_x1_names_the_call_in_the_turn_s_own_thread() -> None:
    other = "team/SupervisorAgent.u1.0"
    cell = _cell("t1")
    cell.call("turn", "t1", thread=other)
    stray = f"{other}/t1"
    assert _seen(APART, cell, cell.facts(turns=(T1, stray))) == [("X1", stray, (2, 3))]
    cell.call("restore", "r1", turns=(T1, stray))
    assert _seen(APART, cell) == [("X1", stray, (2, 3, 4, 5))]
    cell = _cell("t1")
    cell.call("turn", "t1", thread=other)
    never = f"{other}/t7"
    assert _seen(APART, cell, cell.facts(turns=(T1, never))) == [("X1", never, ())], "nobody sent it there either"


def test_z1_names_the_turn_the_delete_and_the_reply() -> None:
    cell = _cell("t1", "t2")
    cell.call("delete", "d1")
    cell.call("restore", "r1", turns=(T2,))
    assert _seen(APART, cell) == [("Z1", T2, (2, 3, 4, 5, 6, 7))]
    cell = _cell("t1", "t2")
    cell.call("delete", "d1")
    cell.call("turn", "t3")
    assert _seen(APART, cell, cell.facts(turns=(T1, T3))) == [("Z1", T1, (0, 1, 4, 5))]


def test_a_turn_that_is_sent_again_after_the_delete_may_be_there() -> None:
    cell = _cell("t1")
    cell.call("delete", "d1")
    cell.call("turn", "t1", attempt=2)
    cell.call("restore", "r1")
    assert _seen(APART, cell) == []


def test_a_read_that_began_before_the_delete_was_over_may_show_what_it_deletes() -> None:
    cell = _cell("t1")
    early = cell.begin("restore", "r1")
    cell.call("delete", "d1")
    cell.complete(early, value={"turns": [T1]})
    assert _seen(APART, cell) == []


def test_r1_names_the_failed_call_and_the_reply() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="fail")
    cell.call("restore", "r1", turns=(T1, T2))
    assert _seen(APART, cell) == [("R1", T2, (2, 3, 4, 5))]


def test_r1_in_the_final_state_names_the_failed_call() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="fail")
    assert _seen(APART, cell, cell.facts(turns=(T1, T2))) == [("R1", T2, (2, 3))]


def test_o1_names_the_acknowledging_call_of_the_one_and_the_first_of_the_other() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    cell.call("turn", "t1", attempt=2)
    cell.call("turn", "t2", status="info", turns=())
    cell.call("turn", "t2", attempt=2, turns=())
    assert _seen(APART, cell, cell.facts(turns=(T2, T1))) == [("O1", T2, (2, 3, 4, 5))]


def test_o1_is_told_of_each_turn_that_stands_before_an_earlier_one() -> None:
    cell = MadeCell()
    for turn in ("t1", "t2", "t3"):
        cell.call("turn", turn, turns=())
    seen = _seen(APART, cell, cell.facts(turns=(T3, T2, T1)))
    assert [(code, turn) for code, turn, _ in seen] == [("O1", T2), ("O1", T3)]
    assert [rows for _, _, rows in seen] == [(0, 1, 2, 3), (0, 1, 4, 5)], "each against the earliest"


def test_p1_and_t1_name_the_call_that_acknowledged_what_is_hidden() -> None:
    cell = _cell("t1", "t2")
    facts = cell.facts(turns=(T1,), forks=1, dangling_parents=1)
    assert _seen(APART, cell, facts) == [("P1", T2, (2, 3)), ("T1", T2, (2, 3))]


def test_rows_of_a_thread_that_nobody_used_name_the_thread() -> None:
    cell = _cell("t1")
    facts = Facts(threads=cell.facts().threads, table_threads=(THREAD, "stranger"))
    cases: Any = APART.check(cell.history, facts, BOUNDS).details["anomalies"]
    assert [(case["code"], case["thread"], case["turn"]) for case in cases] == [("Q1", "stranger", "")]


def test_a_torn_state_names_its_thread() -> None:
    cell = _cell("t1")
    cases: Any = APART.check(cell.history, cell.facts(problems=("odd",)), BOUNDS).details["anomalies"]
    assert [(case["code"], case["thread"], case["turn"], case["text"]) for case in cases] == [
        ("T1", THREAD, "", f"thread {THREAD}: odd")
    ]


def test_what_a_fork_that_is_under_way_may_drop_is_excused_when_it_ends() -> None:
    cell = _cell("t1", "t2")
    fork = cell.begin("fork", "f1", target=T2)
    cell.call("turn", "t3")
    cell.complete(fork, value={"turns": [T1]})
    only = (T1,)
    assert _seen(LOST, cell, cell.facts(turns=only, sql_turns=only, answers=only, history_turns=only)) == []


def test_a_turn_after_a_delete_in_doubt_may_come_and_go() -> None:
    cell = _cell("t1")
    cell.call("delete", "d1", status="info")
    cell.call("turn", "t2", turns=())
    cell.call("restore", "r1", turns=(T2,))
    cell.call("restore", "r2", turns=(T1,))
    cell.call("restore", "r3", turns=(T1, T2))
    assert _seen(LOST, cell) == []
    assert _seen(LOST, cell, cell.facts(turns=(), sql_turns=(), answers=())) == []


def test_as_many_forks_as_were_asked_for_hide_nothing_wrongly() -> None:
    for forks, codes in ((2, []), (3, ["P1"])):
        cell = _cell("t1", "t2", "t3")
        for fork in ("f1", "f2"):
            cell.call("fork", fork, target=T3, turns=(T1, T2))
        facts = cell.facts(turns=(T1,), history_turns=(T1, T2), forks=forks)
        assert [code for code, _, _ in _seen(APART, cell, facts)] == codes


def test_a_thread_that_nobody_could_read_is_not_judged_by_its_forks() -> None:
    cell = _cell("t1")
    assert _seen(APART, cell, cell.facts(turns=None, sql_turns=None, forks=3, dangling_parents=2)) == []


def test_r2_in_the_final_state_names_its_call_and_the_reply_that_showed_it() -> None:
    cell = _cell("t1")
    cell.call("turn", "t2", status="info")
    cell.call("restore", "r1", turns=(T1, T2))
    assert _seen(LOST, cell) == [("R2", T2, (2, 3, 4, 5))]


@pytest.mark.parametrize(
    ("saves", "checkpoints", "codes"),
    [
        ([("aput", None)], 1, []),
        ([("aput", None)], 2, ["Z1"]),
        ([("aput_writes", None)], 0, []),
        ([("aput_writes", None)], 1, ["Z1"]),
        ([("aget_tuple", None)], 0, ["Z1"]),
        ([], 0, ["Z1"]),
        ([("aput", "ok")], 1, ["Z1"]),
        ([("aput", "after")], 1, ["Z1"]),
        ([("aput", "elsewhere")], 1, ["Z1"]),
    ],
)
def test_saves_in_doubt_when_the_thread_was_deleted_may_leave_a_rest(
    saves: list[tuple[str, str | None]], checkpoints: int, codes: list[str]
) -> None:
    cell = _cell("t1")
    value: dict[str, Any] = {"thread": THREAD, "turn": T1}
    for f, how in saves:
        if how in (None, "ok", "elsewhere"):
            number = cell.invoke(f, "g0/A", {**value, "thread": "other"} if how == "elsewhere" else value)
            if how == "ok":
                cell.complete(number)
    cell.call("delete", "d1")
    if ("aput", "after") in saves:
        cell.invoke("aput", "g0/A", value)
    facts = cell.facts(exists=True, checkpoints=checkpoints, problems=("torn",))
    expected = [] if not codes else ["Z1", "T1"]
    assert [code for code, _, _ in _seen(APART, cell, facts)] == expected


def test_a_rest_of_one_deleted_thread_excuses_no_other() -> None:
    cell = _cell("t1")
    cell.invoke("aput", "g0/A", {"thread": THREAD, "turn": T1})
    cell.call("delete", "d1")
    other = "SupervisorAgent.u1.0"
    cell.call("turn", "t1", thread=other)
    facts = cell.facts(exists=True, checkpoints=1)
    torn = {name: dataclasses.replace(facts.threads[name], problems=("odd",)) for name in (THREAD, other)}
    finding = APART.check(cell.history, Facts(threads=torn, table_threads=tuple(torn)), BOUNDS)
    assert finding.details["count"] == 1
    assert finding.summary == f"T1: thread {other}: odd"


def test_a_deleted_turn_that_is_there_names_its_thread() -> None:
    cell = _cell("t1")
    cell.call("delete", "d1")
    cell.call("turn", "t2")
    cases: Any = APART.check(cell.history, cell.facts(turns=(T1, T2)), BOUNDS).details["anomalies"]
    assert [(case["code"], case["thread"], case["turn"]) for case in cases] == [("Z1", THREAD, T1)]


def test_z1_of_a_whole_thread_is_about_no_turn_alone() -> None:
    cell = _cell("t1")
    cell.call("delete", "d1")
    assert _seen(APART, cell, cell.facts(exists=True, checkpoints=1)) == [("Z1", "", (2, 3))]


def test_d2_of_an_effect_names_its_turn() -> None:
    cell = _cell("t1")
    assert _seen(TWICE, cell, cell.facts(effects=(f"{T1}/plan", f"{T1}/plan"))) == [("D2", T1, (0, 1))]


def test_n1_of_the_final_state_names_thread_and_turn() -> None:
    cell = _cell("t1", "t2")
    cases: Any = LOST.check(cell.history, cell.facts(turns=(T2, T1)), BOUNDS).details["anomalies"]
    assert [(case["code"], case["thread"], case["turn"]) for case in cases] == [("N1", THREAD, T1)]


def test_a_thread_that_was_not_read_back_is_named() -> None:
    cell = _cell("t1")
    assert f"1 threads that hold acknowledged turns ({THREAD})" in LOST.check(cell.history, Facts(), BOUNDS).summary


def test_h1_names_the_turn_and_the_call_that_answered_it() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=("i1",))
    cell.call("resume", "t1", target="i1")
    assert _seen(LOST, cell, cell.facts(answers=())) == [("H1", T1, (2, 3))]


def test_each_reply_that_shows_a_deleted_turn_counts() -> None:
    cell = _cell("t1", "t2")
    cell.call("delete", "d1")
    cell.call("restore", "r1", turns=(T1,))
    cell.call("restore", "r2", turns=(T1, T2))
    assert [(code, turn) for code, turn, _ in _seen(APART, cell)] == [("Z1", T1), ("Z1", T2)]


def test_a_list_of_interrupts_that_is_none_leaves_nobody_waiting() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", value={"waiting": "i1"})
    assert _seen(TWICE, cell, cell.facts(waiting=())) == []


def test_a_turn_that_is_acknowledged_again_after_a_fork_stands_in_its_order() -> None:
    cell = _cell("t1", "t2")
    cell.call("fork", "f1", target=T2, status="info")
    cell.call("turn", "t2", attempt=2)
    cell.call("restore", "r1", turns=(T2, T1))
    assert [(code, turn) for code, turn, _ in _seen(LOST, cell)] == [("N1", T1)]
