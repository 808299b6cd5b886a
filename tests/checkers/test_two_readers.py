"""The final state has two readers: what either sees broken is broken, and that they disagree is told."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_lost_turn import NoLostTurn
from harness.core.facts import Facts
from harness.core.verdict import Checker, Finding, Verdict
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell, shows, turns_of

LOST, TWICE, APART = NoLostTurn(), NoDuplicateTurn(), Isolation()
T1, T2, T3 = turns_of(1, 2, 3)


def _cell() -> MadeCell:
    cell = MadeCell()
    for turn in ("t1", "t2"):
        cell.call("turn", turn)
    return cell


def _exact(cell: MadeCell, **changes: Any) -> Facts:
    """Facts whose second reader took the messages apart, like the first."""
    return cell.facts(
        **{
            "sql_exact": True,
            "sql_answers": (T1, T2),
            "effects": (f"{T1}/a", f"{T2}/a"),
            "sql_effects": (f"{T1}/a", f"{T2}/a"),
            "sql_waiting": 0,
            **changes,
        }
    )


def _ask(checker: Checker, facts: Facts) -> Finding:
    return checker.check(_cell().history, facts, BOUNDS)


@pytest.mark.parametrize("checker", [LOST, TWICE, APART])
def test_readers_that_agree_are_not_mentioned(checker: Checker) -> None:
    finding = _ask(checker, _exact(_cell()))
    shows(finding, Verdict.PASS)
    assert not finding.details.get("disagreements")


#: (checker, what one reader sees, code): the other one sees what is right.
BROKEN: list[tuple[Checker, dict[str, Any], str]] = [
    (LOST, {"turns": (T1,), "answers": (T1,), "history_turns": (T1,)}, "L1"),
    (LOST, {"sql_turns": (T1,), "sql_answers": (T1,), "history_turns": (T1,)}, "L1"),
    (LOST, {"answers": (T1,)}, "H1"),
    (LOST, {"sql_answers": (T1,)}, "H1"),
    (TWICE, {"turns": (T1, T2, T1)}, "D1"),
    (TWICE, {"sql_turns": (T1, T2, T1)}, "D1"),
    (TWICE, {"answers": (T1, T2, T2)}, "D2"),
    (TWICE, {"sql_answers": (T1, T2, T2)}, "D2"),
    (TWICE, {"effects": (f"{T1}/a", f"{T2}/a", f"{T1}/a")}, "D2"),
    (TWICE, {"sql_effects": (f"{T1}/a", f"{T2}/a", f"{T1}/a")}, "D2"),
]


@pytest.mark.parametrize(("checker", "changes", "code"), BROKEN)
def test_what_one_reader_sees_broken_is_broken_and_who_saw_it_is_told(
    checker: Checker, changes: dict[str, Any], code: str
) -> None:
    facts = _exact(_cell(), **changes)
    finding = _ask(checker, facts)
    shows(finding, Verdict.FAIL, code)
    assert "the two readers disagree: " in finding.summary
    agent, sql = "a fresh agent sees it, plain SQL does not", "plain SQL sees it, a fresh agent does not"
    by_sql = any(name.startswith("sql_") for name in changes)
    missing = code in ("L1", "H1")
    assert finding.summary.endswith(agent if by_sql is missing else sql)


@pytest.mark.parametrize(("checker", "changes", "code"), BROKEN)
def test_what_both_readers_see_broken_is_told_without_a_word_on_them(
    checker: Checker, changes: dict[str, Any], code: str
) -> None:
    both = {key.removeprefix("sql_"): value for key, value in changes.items()}
    both |= {f"sql_{key}": value for key, value in both.items() if key != "history_turns"}
    finding = _ask(checker, _exact(_cell(), **both))
    assert finding.verdict is Verdict.FAIL
    assert code in finding.codes
    assert "readers" not in finding.summary


def test_a_turn_that_one_reader_finds_in_the_newest_checkpoint_is_not_hidden_in_an_older_one() -> None:
    gone: dict[str, Any] = {"turns": (T1,), "answers": (T1,), "history_turns": (T1, T2)}
    shows(_ask(LOST, _exact(_cell(), **gone)), Verdict.FAIL, "L1")
    shows(_ask(LOST, _exact(_cell(), **gone, sql_turns=(T1,), sql_answers=(T1,))), Verdict.FAIL, "L2")
    shows(_ask(LOST, _exact(_cell(), **gone, sql_turns=None)), Verdict.FAIL, "L2")


@pytest.mark.parametrize(
    ("checker", "changes", "words"),
    [
        (
            LOST,
            {"turns": (T1, T2, T3)},
            f"turns of thread {THREAD}: a fresh agent sees 3, plain SQL 2; {T3} only by the",
        ),
        (LOST, {"sql_turns": (T1, T2, T3)}, f"a fresh agent sees 2, plain SQL 3; {T3} only by SQL"),
        (LOST, {"sql_turns": (T2, T1)}, "the same ones, in another order or number"),
        (TWICE, {"answers": (T1, T2, T3)}, f"answers of thread {THREAD}: a fresh agent sees 3, plain SQL 2"),
        (TWICE, {"sql_effects": (f"{T1}/a",)}, f"effects of thread {THREAD}: a fresh agent sees 2, plain SQL 1"),
        (TWICE, {"waiting": ("i1",)}, "a fresh agent sees 1 interrupts wait, plain SQL 0"),
        (TWICE, {"sql_waiting": 2}, "a fresh agent sees 0 interrupts wait, plain SQL 2"),
    ],
)
def test_readers_that_disagree_about_nothing_broken_prove_nothing(
    checker: Checker, changes: dict[str, Any], words: str
) -> None:
    finding = _ask(checker, _exact(_cell(), **changes))
    shows(finding, Verdict.INVALID)
    assert finding.summary.startswith("the two readers disagree on ")
    assert words in finding.summary
    assert finding.details["disagreements"] == [finding.summary]


@pytest.mark.parametrize(
    "changes",
    [
        {"sql_turns": (T1, T2, T3)},  # it may quote a turn that the agent does not count
        {"sql_answers": (), "sql_effects": ()},
        {"sql_turns": (T2, T1)},
        {"sql_waiting": None, "waiting": ("i1",)},
    ],
)
def test_a_reader_of_raw_bytes_is_not_asked_what_it_cannot_tell(changes: dict[str, Any]) -> None:
    facts = _exact(_cell(), sql_exact=False, **changes)
    shows(_ask(LOST, facts), Verdict.PASS)
    shows(_ask(TWICE, facts), Verdict.PASS)


def test_a_reader_of_raw_bytes_must_find_what_the_agent_shows() -> None:
    finding = _ask(LOST, _exact(_cell(), sql_exact=False, turns=(T1, T2, T3)))
    shows(finding, Verdict.INVALID)


def test_an_order_that_only_plain_sql_sees_is_judged() -> None:
    shows(_ask(APART, _exact(_cell(), sql_turns=(T2, T1))), Verdict.FAIL, "O1")
    shows(_ask(APART, _exact(_cell(), sql_turns=(T2, T1), sql_exact=False)), Verdict.PASS)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"turns": (T1, T2, T3)}, "by a fresh agent"),
        ({"answers": (T1, T2, T3)}, "by a fresh agent"),
        ({"effects": (f"{T3}/a",)}, "by a fresh agent"),
        ({"sql_turns": (T1, T2, T3)}, "by plain SQL"),
        ({"sql_answers": (T1, T3)}, "by plain SQL"),
        ({"sql_effects": (f"{T3}/a",)}, "by plain SQL"),
        ({"turns": (T1, T2, T3), "sql_turns": (T1, T2, T3)}, "by a fresh agent, by plain SQL"),
        ({"history_turns": (T1, T2, T3)}, "in an older checkpoint"),
        ({"pending_turns": (T3,)}, "in a pending write"),
    ],
)
def test_what_nobody_sent_is_found_wherever_it_stands(changes: dict[str, Any], where: str) -> None:
    finding = _ask(APART, _exact(_cell(), **changes))
    shows(finding, Verdict.FAIL, "Q1")
    assert finding.summary.endswith(f"in the final state, seen {where}")
    cell = _cell()
    cell.call("turn", "t3", status="fail")
    failed = APART.check(cell.history, _exact(cell, **changes), BOUNDS)
    shows(failed, Verdict.FAIL, "R1")
    assert failed.summary.endswith(f"and is there, seen {where}")


def test_an_interrupt_that_one_reader_does_not_find_is_lost() -> None:
    readings: list[dict[str, Any]] = [{"waiting": (), "sql_waiting": 1}, {"waiting": ("i1",), "sql_waiting": 0}]
    for seen in readings:
        cell = _cell()
        cell.call("turn", "t3", waiting=("i1",))
        finding = TWICE.check(cell.history, cell.facts(**seen), BOUNDS)
        shows(finding, Verdict.FAIL, "I1")
        assert "the two readers disagree" in finding.summary
        whole = cell.facts(waiting=("i1",), sql_waiting=1)
        shows(TWICE.check(cell.history, whole, BOUNDS), Verdict.PASS)


def test_a_deleted_turn_that_only_plain_sql_sees_came_back() -> None:
    cell = _cell()
    cell.call("delete", "d1")
    cell.call("turn", "t3")
    shows(APART.check(cell.history, cell.facts(sql_turns=(T2, T3)), BOUNDS), Verdict.FAIL, "Z1")
    shows(APART.check(cell.history, cell.facts(), BOUNDS), Verdict.PASS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dangling_parents": 1}, "a checkpoint names a parent that does not exist"),
        ({"missing_blobs": 1}, "a checkpoint names messages that the tables do not hold"),
        ({"orphan_writes": 1, "pending_turns": (T1, T2), "history_turns": (T1,)}, "stands in writes alone"),
    ],
)
def test_t1_says_what_is_torn_and_only_where_it_hides_an_acknowledged_turn(changes: dict[str, Any], words: str) -> None:
    shows(_ask(APART, _exact(_cell(), **changes)), Verdict.PASS)
    gone = {
        "turns": (T1,),
        "answers": (T1,),
        "sql_turns": (T1,),
        "sql_answers": (T1,),
        "effects": (),
        "sql_effects": (),
    }
    finding = _ask(APART, _exact(_cell(), **gone, **changes))
    shows(finding, Verdict.FAIL, "T1")
    assert words in finding.summary


def test_orphan_writes_that_hold_nothing_missing_are_normal() -> None:
    gone = {
        "turns": (T1,),
        "answers": (T1,),
        "sql_turns": (T1,),
        "sql_answers": (T1,),
        "effects": (),
        "sql_effects": (),
    }
    for changes in ({"orphan_writes": 1}, {"pending_turns": (T2,)}, {"orphan_writes": 1, "pending_turns": (T1,)}):
        shows(_ask(APART, _exact(_cell(), **gone, **changes)), Verdict.PASS)
    hidden: dict[str, Any] = {"orphan_writes": 1, "pending_turns": (T2,), "history_turns": (T1, T2)}
    shows(_ask(APART, _exact(_cell(), **gone, **hidden)), Verdict.PASS)
