"""What a finding carries as proof: enough to see the anomaly again, nothing that can be left out, and where it was."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers import ALL
from harness.checkers.anomalies import SHOWN, SHOWN_OF_A_CODE
from harness.core.errors import UsageError
from harness.core.facts import Checkpoint, Facts, facts_from_json, facts_to_json
from harness.core.history import History
from harness.core.verdict import Guarantee
from tests.checkers.honest_system import HonestSystem
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell, turns_of
from tests.checkers.test_checkers_on_generated import plant

STATE = (Guarantee.NO_LOST_TURN, Guarantee.NO_DUPLICATE_TURN, Guarantee.ISOLATION)


def cases(history: History, facts: Facts) -> list[dict[str, Any]]:
    """Every anomaly that is shown in full."""
    found: list[Any] = []
    for checker in ALL:
        if checker.guarantee in STATE:
            shown: Any = checker.check(history, facts, BOUNDS).details.get("anomalies", [])
            found += shown
    return found


def _seen(history: History, facts: Facts) -> set[tuple[str, str, str]]:
    return {(case["code"], case["thread"], case["turn"]) for case in cases(history, facts)}


def _calls(history: History, case: dict[str, Any]) -> set[int | None]:
    rows = {operation["index"] for operation in case["operations"]}
    return {op.call for op in history if op.index in rows}


def _alone(history: History, calls: set[int | None]) -> History:
    return History(op for op in history if op.call is not None and op.call in calls)


#: Seen in the final state whoever called: the call in evidence says whose turn it is.
_BY_FACTS_ALONE = {"D1", "D2", "T1"}


@pytest.mark.parametrize("code", ["L1", "L2", "H1", "D1", "D2", "X1", "P1", "O1"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), trouble=st.floats(0.0, 0.6))
def test_the_history_in_evidence_shows_it_by_itself_and_no_call_of_it_can_go(
    code: str, seed: int, trouble: float
) -> None:
    system = HonestSystem(Random(seed), trouble)
    system.call("turn", user="u9", sure=True)
    system.run(25)
    name = system.fresh_thread("u0")
    for sure in (True, False, True, True):
        system.call("turn", user="u0", sure=sure)
    system.run(10, users=("u1", "u2"))
    history, facts = system.finish(), system.facts()
    thread = facts.threads[name]
    planted = dataclasses.replace(thread, **plant(code, thread))
    facts = dataclasses.replace(facts, threads={**facts.threads, thread.thread: planted})
    shown = [case for case in cases(history, facts) if case["code"] == code]
    assert shown
    only = Facts(threads={thread.thread: planted})
    for case in shown:
        what = (case["code"], case["thread"], case["turn"])
        calls = _calls(history, case)
        assert 1 <= len(calls) <= 2
        assert what in _seen(_alone(history, calls), only)
        for call in calls if code not in _BY_FACTS_ALONE else ():
            assert what not in _seen(_alone(history, calls - {call}), only)


@pytest.mark.parametrize("code", ["S1", "R2"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), trouble=st.floats(0.0, 0.6))
def test_the_replies_in_evidence_show_it_by_themselves(code: str, seed: int, trouble: float) -> None:
    system = HonestSystem(Random(seed), trouble)
    system.run(20)
    thread = system.fresh_thread("u0")
    system.call("turn", user="u0", sure=True)
    system.call("turn", user="u0", sure=code == "S1", lands=True)
    if code == "R2":
        system.call("restore", user="u0", sure=True)
    system.call("restore", user="u0", sure=True, shows=[f"{thread}/t1"])
    history = system.finish()
    shown = [case for case in cases(history, system.facts()) if case["code"] == code]
    assert shown
    for case in shown:
        what, calls = (case["code"], case["thread"], case["turn"]), _calls(history, case)
        assert len(calls) <= 3
        assert what in _seen(_alone(history, calls), Facts())
        for call in calls:
            if any(op.f == "restore" for op in history if op.call == call):
                assert what not in _seen(_alone(history, calls - {call}), Facts())


# -- its parts ----------------------------------------------------------------------------------------------------


def _lost_in_a_window() -> tuple[MadeCell, Facts]:
    cell = MadeCell()
    cell.call("turn", "t1")
    cell.now_s = 2.0
    cell.strike(kind="reset_peer")
    cell.call("turn", "t2", took_s=0.5)
    cell.now_s = 4.0
    cell.heal()
    cell.now_s = 30.0
    cell.strike(1, kind="latency")
    tree = (
        Checkpoint("1f0c-01", None, "input", -1),
        Checkpoint("1f0c-02", "1f0c-01", "loop", 0, f"{THREAD}/t2"),
        Checkpoint("1f0c-03", "1f0c-01", "loop", 0, f"{THREAD}/t1"),
    )
    return cell, cell.facts(turns=turns_of(1), answers=turns_of(1), sql_turns=turns_of(1), forks=0, tree=tree)


def test_a_case_carries_its_operations_in_order_with_words() -> None:
    cell, facts = _lost_in_a_window()
    (case,) = cases(cell.history, facts)
    assert (case["code"], case["thread"], case["turn"]) == ("L2", THREAD, f"{THREAD}/t2")
    assert [(row["index"], row["type"], row["text"]) for row in case["operations"]] == [
        (4, "invoke", f"turn {THREAD}/t2 on g0/SupervisorAgent"),
        (5, "ok", "answered; shows t1, t2"),
    ]
    assert [row["time_s"] for row in case["operations"]] == [2.0, 2.5]
    assert {(row["f"], row["process"]) for row in case["operations"]} == {("turn", "u0")}


def test_a_case_carries_the_tree_and_the_windows_that_are_near() -> None:
    cell, facts = _lost_in_a_window()
    (case,) = cases(cell.history, facts)
    assert [node["turn"].rpartition("/")[2] for node in case["tree"]["nodes"]] == ["", "t2", "t1"]
    assert case["tree"]["forks"] == 1
    assert case["windows"] == [
        {"window": 0, "kind": "reset_peer", "began_s": 2.0, "ended_s": 4.0, "when": "during it"}
    ], "the one 27 s later is not near"


@pytest.mark.parametrize(
    ("began_s", "healed_s", "when"),
    [(0.0, 2.5, "0.50 s before it"), (3.5, 5.0, "0.40 s after it"), (2.5, 3.05, "during it"), (14.0, 15.0, "")],
)
def test_a_window_is_placed_beside_the_operations(began_s: float, healed_s: float, when: str) -> None:
    cell = MadeCell()
    rows: list[tuple[float, Any]] = [
        (began_s, cell.strike),
        (healed_s, cell.heal),
        (3.0, lambda: cell.call("turn", "t1")),
    ]
    for at_s, act in sorted(rows, key=lambda row: row[0]):
        cell.now_s = at_s
        act()
    (case, *_) = cases(cell.history, cell.facts(turns=(), answers=(), sql_turns=()))
    assert [window["when"] for window in case["windows"]] == ([when] if when else [])


def test_a_case_without_operations_shows_every_window_up_to_a_bound() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    for number in range(9):
        cell.now_s = 1.0 + number
        cell.strike(number)
        cell.heal(number)
    (case,) = cases(cell.history, cell.facts(problems=("mixed",)))
    assert case["operations"] == []
    assert case["tree"] is None
    assert [window["window"] for window in case["windows"]] == [0, 1, 2, 3, 4, 5]


def test_a_resume_and_what_waits_are_told() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", waiting=("i1",))
    cell.call("resume", "t1", target="i1")
    cell.call("resume", "t1", target="i1", status="info")
    cell.call("resume", "t1", target="i1")
    (case,) = cases(cell.history, cell.facts())
    assert case["code"] == "I1"
    texts = [row["text"] for row in case["operations"]]
    assert texts[0] == f"resume {THREAD}/t1 on g0/SupervisorAgent, target i1"
    assert len(texts) == 4, "the two that were answered; the one in doubt is not needed"
    parked = MadeCell()
    parked.call("turn", "t1", waiting=("i1", "i2"))
    (case,) = cases(parked.history, parked.facts(waiting=()))
    assert case["operations"][1]["text"] == "answered; shows t1; waits for i1, i2"


def test_how_a_call_ended_is_told() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info")
    cell.call("restore", "r1", turns=turns_of(1))
    (case,) = cases(cell.history, cell.facts(turns=(), sql_turns=()))
    assert case["operations"][1]["text"] == "ended in OperationalError: the connection is lost"
    cell = MadeCell()
    for turn in ("t1", "t2"):
        cell.call("turn", turn, turns=())
    (case,) = cases(cell.history, cell.facts(turns=turns_of(2, 1)))
    assert case["operations"][1]["text"] == "answered"


@pytest.mark.parametrize(("count", "text"), [(8, "answered; shows t1, t2"), (9, "answered; shows 1 more, t2, t3")])
def test_up_to_eight_turns_of_a_reply_are_shown(count: int, text: str) -> None:
    cell = MadeCell()
    for number in range(1, count + 1):
        cell.call("turn", f"t{number}")
    (case,) = cases(cell.history, cell.facts(answers=turns_of(*range(1, count))))
    assert case["operations"][1]["text"].startswith(text)


def test_the_nearest_windows_are_shown_in_their_order() -> None:
    cell = MadeCell()
    for number in range(4):
        cell.now_s = 1.0 + number
        cell.strike(number)
        cell.heal(number)
    cell.now_s = 11.0
    cell.call("turn", "t1", took_s=0.0)
    for number in range(4, 9):
        cell.now_s = 8.0 + number
        cell.strike(number)
        cell.heal(number)
    (case, *_) = cases(cell.history, cell.facts(turns=(), answers=(), sql_turns=()))
    assert [window["window"] for window in case["windows"]] == [3, 4, 5, 6, 7, 8]


def test_a_window_ten_seconds_away_is_near_and_one_farther_away_is_not() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", took_s=0.0)
    for number, at_s in enumerate((10.0, 10.5)):
        cell.now_s = at_s
        cell.strike(number)
        cell.heal(number)
    (case, *_) = cases(cell.history, cell.facts(turns=(), answers=(), sql_turns=()))
    assert [window["window"] for window in case["windows"]] == [0]


def test_the_tree_is_drawn_around_the_turn() -> None:
    cell = MadeCell()
    for number in (1, 2):
        cell.call("turn", f"t{number}")
    tree = tuple(
        Checkpoint(f"1f0c-{n:04}", f"1f0c-{n - 1:04}" if n else None, "loop", n, turns_of(2)[0] if n == 7 else "")
        for n in range(60)
    )
    (case, *_) = cases(cell.history, cell.facts(turns=turns_of(1), answers=turns_of(1), tree=tree))
    assert 7 in [node["step"] for node in case["tree"]["nodes"]]


def test_of_many_cases_a_few_of_each_code_are_shown() -> None:
    cell = MadeCell()
    numbers = range(1, 30)
    for number in numbers:
        cell.call("turn", f"t{number}")
    every = turns_of(*numbers)
    facts = cell.facts(
        turns=(*every, *every), answers=(*every, *every), effects=(*(f"{turn}/x" for turn in every),) * 2
    )
    shown = [case["code"] for case in cases(cell.history, facts)]
    assert shown == ["D1"] * SHOWN_OF_A_CODE + ["D2"] * SHOWN_OF_A_CODE
    assert len(shown) <= SHOWN


def test_a_long_reply_is_shown_by_its_end() -> None:
    cell = MadeCell()
    for number in range(1, 12):
        cell.call("turn", f"t{number}")
    cell.call("restore", "r1", turns=turns_of(*range(1, 11)))
    (case,) = cases(cell.history, cell.facts())
    assert (case["code"], case["turn"]) == ("S1", f"{THREAD}/t11")
    assert case["operations"][1]["text"] == "answered; shows 3 more, t4, t5, t6, t7, t8, t9, t10, t11"
    assert case["operations"][3]["text"] == "answered; shows 2 more, t3, t4, t5, t6, t7, t8, t9, t10"


def test_facts_with_a_tree_survive_the_disk() -> None:
    _, facts = _lost_in_a_window()
    assert facts_from_json(facts_to_json(facts)) == facts


def test_a_damaged_tree_is_refused() -> None:
    _, facts = _lost_in_a_window()
    data: Any = facts_to_json(facts)
    data["threads"][THREAD]["tree"] = [["a", None, "loop", "1", ""]]
    with pytest.raises(UsageError, match=r"tree\[0\].step is '1'"):
        facts_from_json(data)
