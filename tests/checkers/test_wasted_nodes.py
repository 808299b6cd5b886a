"""Nodes that ran in vain, of made histories whose answers are known."""

from __future__ import annotations

import pytest

from harness.checkers.reading import read
from harness.checkers.waste import waste
from harness.checkers.wasted_nodes import wasted_nodes
from harness.core.history import ErrorInfo, OpType
from harness.core.verdict import Json
from tests.checkers.made_histories import CANCELLED, OPERATIONAL, THREAD, MadeCell


def wasted_in(cell: MadeCell) -> int:
    """The measure, which ``waste`` passes on."""
    reading = read(cell.history)
    found = wasted_nodes(reading)
    assert waste(reading)["wasted_nodes"] == found
    return found


def begin_attempt(cell: MadeCell, call: int | None) -> int:
    return cell.invoke("attempt", "u0", {"parent": call, "n": 1, "step": "send"})


def begin_save(cell: MadeCell, call: int | None, f: str = "aput_writes") -> int:
    return cell.invoke(f, f"g0/{THREAD.split('.')[0]}", {"thread": THREAD, "parent": call, "turn": f"{THREAD}/t1"})


def test_nodes_that_end_behind_a_failed_save_are_wasted_until_the_attempt_ends() -> None:
    cell = MadeCell()
    call = cell.begin()
    first = cell.invoke("attempt", "u0", {"parent": call, "n": 1, "step": "send"})
    cell.save("aput_writes", parent=call)  # before the failure: not wasted
    cell.save(parent=call, error=OPERATIONAL)
    cell.save("aput_writes", parent=call)
    cell.save("aput_writes", parent=call, error=OPERATIONAL)
    cell.save("aput", parent=call)  # no node
    cell.save("aput_writes", parent=None)  # nobody's
    cell.complete(first, OpType.INFO, error=OPERATIONAL)
    second = cell.invoke("attempt", "u0", {"parent": call, "n": 2, "step": "finish"})
    cell.save("aput_writes", parent=call)
    cell.complete(second)
    cell.complete(call)
    assert wasted_in(cell) == 2


def test_a_save_that_was_cancelled_did_not_fail_first() -> None:
    cell = MadeCell()
    call = cell.begin()
    cell.invoke("attempt", "u0", {"parent": call, "n": 1, "step": "send"})  # never ends
    cell.save(parent=call, error=CANCELLED)
    cell.save("aput_writes", parent=call)
    assert wasted_in(cell) == 0


@pytest.mark.parametrize(("error", "wasted"), [(OPERATIONAL, 1), (CANCELLED, 0), (None, 0)])
@pytest.mark.parametrize("f", ["aput", "aput_writes"])
def test_only_a_failure_spoils_what_begins_behind_it(f: str, error: ErrorInfo | None, wasted: int) -> None:
    cell = MadeCell()
    call = cell.begin()
    begin_attempt(cell, call)
    failing = begin_save(cell, call, f)
    begin_save(cell, call)  # begun before anybody could know
    cell.complete(failing, OpType.OK if error is None else OpType.INFO, error=error)
    begin_save(cell, call)
    begin_save(cell, call, "aput")
    assert wasted_in(cell) == wasted


def test_the_first_failure_counts_and_open_saves_do_not_fail() -> None:
    cell = MadeCell()
    call = cell.begin()
    begin_attempt(cell, call)
    begin_save(cell, call)  # never ends
    early, late = begin_save(cell, call), begin_save(cell, call)
    cell.complete(early, OpType.INFO, error=OPERATIONAL)
    cell.save("aput_writes", parent=call)
    cell.complete(late, OpType.INFO, error=OPERATIONAL)
    cell.save("aput_writes", parent=call)
    assert wasted_in(cell) == 2


def test_reads_are_no_saves() -> None:
    cell = MadeCell()
    call = cell.begin()
    begin_attempt(cell, call)
    cell.complete(begin_save(cell, call, "aget_tuple"), OpType.INFO, error=OPERATIONAL)
    cell.save("aput_writes", parent=call)
    assert wasted_in(cell) == 0


def test_each_attempt_is_judged_by_its_own_saves() -> None:
    cell = MadeCell()
    one, other = cell.begin(turn="t1"), cell.begin(turn="t2")
    attempts = [begin_attempt(cell, one), begin_attempt(cell, other)]
    for call in (one, other):
        cell.save("aput", parent=call, error=OPERATIONAL)
        cell.save("aput_writes", parent=call)
    cell.complete(attempts[0], OpType.INFO, error=OPERATIONAL)
    cell.save("aput_writes", parent=one)  # behind the end of its attempt
    cell.save("aput_writes", parent=other)
    assert wasted_in(cell) == 3


@pytest.mark.parametrize("parent", [None, "seven", [7]])
def test_an_attempt_of_nobody_wastes_nothing(parent: Json) -> None:
    cell = MadeCell()
    cell.invoke("attempt", "u0", {"parent": parent, "n": 1, "step": "send"})
    cell.complete(begin_save(cell, None), OpType.INFO, error=OPERATIONAL)
    begin_save(cell, None)
    assert wasted_in(cell) == 0
