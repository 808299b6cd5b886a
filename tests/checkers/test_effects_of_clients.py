"""What shows that calls were cut short, that the loop stood still by order, that set-ups ran side by side; and that
nobody is blamed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.checkers.available import Available
from harness.checkers.clean_background import CleanBackground
from harness.checkers.declared_errors import DeclaredErrors
from harness.checkers.exercised import Exercised
from harness.checkers.measures import measure
from harness.checkers.recovers import Recovers
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, OpType
from harness.core.verdict import Checker, Finding, Json, Verdict
from tests.checkers.made_histories import BOUNDS, CANCELLED, CLOSED, OPERATIONAL, TIMEOUT, MadeCell, shows


def struck(inside: Callable[[MadeCell], Any], **window: Any) -> MadeCell:
    """A sound cell; what happens in the window is up to ``inside``."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(**{"usable": True, **window})
    inside(cell)
    cell.call("turn", "t8")
    cell.now_s = 6.0
    cell.heal(**window.pop("change", {"told": 1}))
    cell.everybody(round_=2)
    cell.end()
    return cell


def ask(checker: Checker, cell: MadeCell) -> Finding:
    return checker.check(cell.history, cell.facts(), BOUNDS)


def left(cell: MadeCell, n: int, *, times: int = 1, by: str = "client", error: ErrorInfo = CANCELLED) -> None:
    """``n`` calls whose client went."""
    told: dict[str, Json] = {"cancelled": times, "by": by}
    for number in range(n):
        cell.call("turn", f"t{20 + number}", status="info", error=error, value=told)


@pytest.mark.parametrize(
    ("n", "times", "twice", "words"),
    [
        (3, 1, False, ""),
        (2, 1, False, "cut 2 calls short"),
        (3, 1, True, "no call twice"),
        (3, 2, True, ""),
    ],
)
def test_cancels(n: int, times: int, twice: bool, words: str) -> None:
    fault: dict[str, Json] = {"kind": "client_gone", **({"again": 4} if twice else {})}
    cell = struck(lambda cell: left(cell, n, times=times), effect="cancels", fault=fault)
    found = ask(Exercised(), cell)
    if words:
        shows(found, Verdict.INVALID, "V4")
        assert words in found.summary
    else:
        shows(found, Verdict.PASS)


def test_a_call_that_was_cut_short_before_the_window_is_not_its_doing() -> None:
    cell = MadeCell()
    cell.gate()
    left(cell, 3)
    cell.now_s = 3.0
    cell.strike(effect="cancels", usable=True)
    cell.call("turn", "t8")
    cell.heal(told=1)
    cell.everybody(round_=2)
    cell.end()
    shows(ask(Exercised(), cell), Verdict.INVALID, "V4")


@pytest.mark.parametrize(("stood_s", "ordered", "seen"), [(0.7, True, True), (0.5, True, False), (0.7, False, False)])
def test_stalls(stood_s: float, ordered: bool, seen: bool) -> None:
    def stand(cell: MadeCell) -> None:
        told: dict[str, Json] = {"seconds": stood_s, "host": False}
        cell.point("stall", "watchdog", told | ({"ordered_s": stood_s} if ordered else {}))

    cell = struck(stand, effect="stalls", delay_ms=700.0, change={"stalls": 1})
    shows(ask(Exercised(), cell), *((Verdict.PASS,) if seen else (Verdict.INVALID, "V4")))


@pytest.mark.parametrize(("side_by_side", "seen"), [(3, True), (2, False), (0, False)])
def test_sets_up(side_by_side: int, seen: bool) -> None:
    def herd(cell: MadeCell) -> None:
        calls = [cell.invoke("setup", "g0", {"ordered": True}) for _ in range(side_by_side)]
        for call in calls:
            cell.complete(call)

    cell = struck(herd, effect="sets_up", change={"setups": 3})
    shows(ask(Exercised(), cell), *((Verdict.PASS,) if seen else (Verdict.INVALID, "V3")))


@pytest.mark.parametrize("checker", [Available(), DeclaredErrors(), Recovers()], ids=lambda c: c.guarantee.value)
def test_nobody_is_blamed_for_a_client_that_went(checker: Checker) -> None:
    shows(ask(checker, struck(lambda cell: left(cell, 3), effect="cancels")), Verdict.PASS)


def test_the_same_ending_without_a_fault_behind_it_is_blamed() -> None:
    cell = struck(lambda cell: cell.call("turn", "t20", status="info", error=CANCELLED), effect="cancels")
    shows(ask(Available(), cell), Verdict.FAIL)
    shows(ask(DeclaredErrors(), cell), Verdict.FAIL)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(TIMEOUT, Verdict.PASS), (OPERATIONAL, Verdict.PASS), (CANCELLED, Verdict.FAIL), (CLOSED, Verdict.FAIL)],
)
def test_a_service_that_gives_less_time_must_see_its_own_timeout(error: ErrorInfo, verdict: Verdict) -> None:
    """Or an error that the strategy declares; a cancellation that leaks out of the timeout is none."""
    cell = struck(lambda cell: left(cell, 3, by="timeout", error=error), effect="cancels")
    shows(ask(DeclaredErrors(), cell), verdict)


@pytest.mark.parametrize(("seconds", "ordered_s", "verdict"), [(2.4, 2.3, Verdict.PASS), (3.4, 2.4, Verdict.FAIL)])
def test_a_stall_that_was_ordered_is_taken_off(seconds: float, ordered_s: float, verdict: Verdict) -> None:
    def stand(cell: MadeCell) -> None:
        cell.point("stall", "watchdog", {"seconds": seconds, "host": False, "ordered_s": ordered_s})

    cell = struck(stand, effect="stalls")
    shows(ask(CleanBackground(), cell), verdict)
    found = measure(cell.history, Facts(), BOUNDS)
    assert found["longest_ordered_stall_ms"] == pytest.approx(ordered_s * 1000)
    assert found["longest_stall_ms"] == pytest.approx((seconds - ordered_s) * 1000)


def test_an_ordered_stall_is_none_of_the_machine_s() -> None:
    """It excuses nobody who is late, so that a strategy cannot hide behind it."""

    def hang(cell: MadeCell) -> None:
        call = cell.begin("turn", "t20")
        cell.point("stall", "watchdog", {"seconds": 2.4, "host": False, "ordered_s": 2.4})
        cell.complete(call, OpType.INFO, error=TIMEOUT)

    shows(ask(Available(), struck(hang, effect="stalls")), Verdict.FAIL)


def test_cut_calls_are_measured() -> None:
    def both(cell: MadeCell) -> None:
        left(cell, 2)
        cell.call("turn", "t30", status="info", error=CANCELLED, value={"cancelled": 2, "by": "client"})

    cell = struck(both, effect="cancels")
    found = measure(cell.history, Facts(), BOUNDS)
    assert (found["calls_cancelled"], found["calls_cancelled_twice"], found["turns_in_doubt"]) == (3, 1, 3)
    calm = measure(struck(lambda cell: None).history, Facts(), BOUNDS)
    assert "calls_cancelled" not in calm
    assert "longest_ordered_stall_ms" not in calm
