"""Edges of what shows that a client's or a replica's fault acted, and of how odd values in rows are read."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.effects import unseen
from harness.checkers.reading import Reading, Spans, number
from harness.core.history import ErrorInfo, OpType
from harness.core.verdict import Json
from tests.checkers.made_histories import AGENT, CANCELLED, THREAD, MadeCell

KILLED: dict[str, Json] = {"group": "g0", "pid": 7, "signal": "SIGKILL", "in_flight": 1, "status": -9}
CUT: dict[str, Json] = {"cancelled": 1, "by": "client"}


def begun(effect: str, **window: Any) -> MadeCell:
    """A cell whose only window begins at 3 s."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(effect=effect, usable=True, **window)
    return cell


def seen(cell: MadeCell) -> bool:
    reading = Reading(cell.history)
    (damage,) = reading.damages
    return unseen(damage, reading) is None


@pytest.mark.parametrize("began_s", [3.0, 6.0])
def test_a_call_that_begins_with_the_window_or_with_its_end_is_cut_in_it(began_s: float) -> None:
    cell = begun("cancels")
    cell.now_s = began_s
    calls = [cell.begin("turn", f"t{n}") for n in range(3)]
    cell.now_s = 6.0
    cell.heal()
    for call in calls:
        cell.complete(call, OpType.INFO, CUT, CANCELLED)
    assert seen(cell)


@pytest.mark.parametrize(
    ("began_s", "ended_s", "felt"),
    [(2.0, 2.9, False), (2.0, 3.0, True), (4.0, 5.0, True), (6.0, 7.0, True), (6.1, 7.0, False), (4.0, None, False)],
)
def test_only_a_saver_call_that_meets_the_window_can_tell_of_it(
    began_s: float, ended_s: float | None, felt: bool
) -> None:
    """One that never ended says nothing."""
    told = ErrorInfo("QueryCanceled", "canceling statement due to statement timeout")
    cell = MadeCell()
    cell.gate()
    moments = {began_s: "save", 3.0: "strike", 6.0: "heal"} | ({} if ended_s is None else {ended_s: "told"})
    if 3.0 in (began_s, ended_s):
        moments[3.0] = "strike told"
    if began_s == 6.0:
        moments[6.0] = "save heal"
    save = 0
    for at_s in sorted(moments):
        cell.now_s = at_s
        for what in moments[at_s].split():
            if what == "save":
                save = cell.invoke("aput", f"g0/{AGENT}", {"thread": THREAD, "parent": None, "turn": f"{THREAD}/t1"})
            elif what == "strike":
                cell.strike()
            elif what == "heal":
                cell.heal(tells="statement timeout")
            else:
                cell.complete(save, OpType.INFO, {}, told)
    assert seen(cell) is felt


def stalled(stood_s: float, told_s: float, *, stalls: float, delay_ms: float) -> MadeCell:
    """The loop stood still by order; the watchdog tells it at ``told_s``, the window ends at 6 s."""
    cell = begun("stalls", delay_ms=delay_ms)
    for at_s in sorted((told_s, 6.0)):
        cell.now_s = at_s
        if at_s == told_s:
            cell.point("stall", "watchdog", {"seconds": stood_s, "host": False, "ordered_s": stood_s})
        else:
            cell.heal(stalls=stalls)
    return cell


@pytest.mark.parametrize(
    ("stood_s", "stalls", "delay_ms", "due"),
    [
        (0.8, 1, 1000.0, True),
        (0.7995, 1, 1000.0, False),
        (1.6, 2, 1000.0, True),
        (1.5, 2, 1000.0, False),
        (0.0, 1, 0.0, False),
    ],
)
def test_the_loop_stood_still_for_most_of_what_was_ordered(
    stood_s: float, stalls: float, delay_ms: float, due: bool
) -> None:
    assert seen(stalled(stood_s, 5.0, stalls=stalls, delay_ms=delay_ms)) is due


@pytest.mark.parametrize(("told_s", "counts"), [(6.5, True), (7.0, True), (7.01, False)])
def test_a_stall_may_be_told_a_second_after_its_window(told_s: float, counts: bool) -> None:
    assert seen(stalled(1.0, told_s, stalls=1, delay_ms=1000.0)) is counts


@pytest.mark.parametrize(("setups", "side_by_side", "due"), [(2, 2, True), (3, 2, False), (1, 1, False)])
def test_a_herd_is_two_at_least(setups: int, side_by_side: int, due: bool) -> None:
    cell = begun("sets_up")
    calls = [cell.invoke("setup", "g0", {"ordered": True}) for _ in range(side_by_side)]
    for call in calls:
        cell.complete(call)
    cell.now_s = 6.0
    cell.heal(setups=setups)
    assert seen(cell) is due


@pytest.mark.parametrize(("began_s", "ended_s"), [(2.0, 3.0), (2.0, 4.0), (6.0, 7.0)])
def test_a_call_is_stranded_if_it_touches_the_window(began_s: float, ended_s: float) -> None:
    cell = MadeCell()
    cell.gate()
    stranded: dict[str, Json] = {"lost": "reset", "ordered": True}
    call = 0
    for at_s in sorted((began_s, ended_s, 3.0, 6.0), key=lambda at_s: (at_s, at_s in (began_s, ended_s))):
        cell.now_s = at_s
        if at_s == began_s and not call:
            call = cell.begin("turn", "t9")
        elif at_s == ended_s:
            cell.complete(call, OpType.INFO, stranded, CANCELLED)
            ended_s = -1.0
        elif at_s == 3.0:
            cell.strike(effect="strands", usable=True)
        else:
            cell.heal(processes=[KILLED])
    assert seen(cell)


@pytest.mark.parametrize("change", [{}, {"processes": 7}, {"processes": None}])
def test_a_witness_that_names_no_processes_is_none(change: dict[str, Any]) -> None:
    cell = begun("drains")
    cell.heal(**change)
    assert not seen(cell)


# -- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [1e300, -1e300, float("inf"), True, "1", None])
def test_what_is_no_finite_number_counts_as_none(found: Json) -> None:
    assert number({"found": found}, "found", 5.0) == 5.0


@pytest.mark.parametrize("texts", range(4))
def test_a_call_s_names_are_texts_or_nothing(texts: int) -> None:
    """The first ``texts`` of them last: however many are texts, none of the others is taken for one."""
    names = ("group", "agent", "thread", "turn")
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    odd: dict[str, Json] = {name: place for place, name in enumerate(names[: len(names) - texts])}
    cell.rows[-1].value.update(odd)
    cell.complete(call, OpType.OK, {"turns": [], "text": "", "waiting": []})
    (read,) = Reading(cell.history).calls
    assert [bool(getattr(read, name)) for name in names] == [name not in odd for name in names]
    assert all(type(getattr(read, name)) is str for name in names)


def test_nothing_is_free_where_everything_is_covered() -> None:
    assert list(Spans([(1.0, 2.0)]).free(0.0, 2.0)) == [(0.0, 1.0)]
    assert list(Spans([(0.0, 2.0)]).free(0.0, 2.0)) == []
